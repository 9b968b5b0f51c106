// Lists: names of species while one is typed, and deletion of selected recordings.
import { request } from "./page.js";

const input = document.querySelector("[list=detected-species]"), names = document.getElementById("detected-species");
let timer = 0;
input.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const reply = await request("GET", `/api/v1/species?name=${encodeURIComponent(input.value)}`).catch(() => null);
    if (reply) names.replaceChildren(...reply.species.map(each => new Option(each.scientific_name, each.common_name)));
  }, 200);
});

const dialog = document.querySelector("[data-question]"), status = document.querySelector("[data-status]");
if (dialog) prepareSelection();

function prepareSelection() {
  const list = document.getElementById("list"), toolbar = list.querySelector("[data-selection]");
  if (!toolbar) return;
  toolbar.hidden = false;
  for (const cell of list.querySelectorAll("[data-choice]")) cell.hidden = false;
  const rows = [...list.querySelectorAll("tbody tr")], boxes = rows.map(row => row.querySelector("input"));
  const page = toolbar.querySelector("[data-select-page]"), button = toolbar.querySelector("[data-delete-selected]");
  const selected = () => rows.filter((_, k) => boxes[k].checked);
  let last = 0;
  const show = () => {
    const n = selected().length;
    toolbar.querySelector("[data-n-selected]").textContent = n ? `${n} selected` : "";
    button.disabled = !n; page.checked = n === rows.length; page.indeterminate = n > 0 && n < rows.length;
  };
  boxes.forEach((box, k) => box.addEventListener("click", event => {
    if (event.shiftKey) for (let j = Math.min(k, last); j <= Math.max(k, last); j += 1) boxes[j].checked = box.checked;
    last = k; show();
  }));
  page.addEventListener("click", () => { for (const box of boxes) box.checked = page.checked; show(); });
  button.addEventListener("click", () => ask(selected(), rows));
  show();
}

function ask(chosen, rows) {
  dialog.querySelector("p").textContent = question(chosen);
  dialog.returnValue = "";
  dialog.showModal();
  dialog.onclose = () => { if (dialog.returnValue === "delete") remove(chosen, rows.indexOf(chosen[0])); };
}

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function question(rows) {
  const sum = name => rows.reduce((n, row) => n + Number(row.dataset[name]), 0);
  const what = rows.length === 1 ? `“${rows[0].querySelector(".name").textContent}”` : count(rows.length, "recording");
  return `Delete ${what}, ${count(sum("detections"), "detection")} and ${count(sum("reviews"), "answer")}? This cannot be undone.`;
}

// The page is read again, so that it is full and its count is right; the focus goes to the row that took the place.
async function remove(rows, index) {
  try {
    const reply = await request("POST", "/api/v1/recordings/delete", { recordings: rows.map(row => row.dataset.sha256) });
    status.textContent = `${count(reply.deleted.length, "recording")} deleted.`;
    const html = await (await fetch(location.href)).text();
    const list = new DOMParser().parseFromString(html, "text/html").getElementById("list");
    document.getElementById("list").replaceWith(list);
    prepareSelection();
    const boxes = [...list.querySelectorAll("tbody input")];
    (boxes[Math.min(index, boxes.length - 1)] || document.getElementById("main")).focus();
  } catch (error) { status.textContent = error.message; }
}
