// Confirmation dialog before something is deleted.
const dialog = document.querySelector("[data-question]");

// Resolves with true if the user chose Delete.
export function confirmDeletion(question) {
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise(resolve => {
    // "close" comes as a task of its own: a dialog that is open again has not been answered.
    dialog.onclose = () => { if (!dialog.open) resolve(dialog.returnValue === "delete"); };
  });
}
