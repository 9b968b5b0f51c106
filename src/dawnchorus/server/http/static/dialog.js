// The page's own question before something is deleted.
const dialog = document.querySelector("[data-question]");

// Resolves with true if the user chose Delete.
export function confirmDeletion(question) {
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise(resolve => { dialog.onclose = () => resolve(dialog.returnValue === "delete"); });
}
