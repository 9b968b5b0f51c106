// Lists: what is done with the selected recordings.
import { confirmDeletion } from "./dialog.js";
import { at, request } from "./page.js";

const status = document.querySelector("[data-status]"), actions = { identify: identifyAgain, download, delete: askAndDelete };
prepareSelection();

function prepareSelection() {
  const list = document.getElementById("list"), toolbar = list.querySelector("[data-selection]");
  if (!toolbar) return;
  toolbar.hidden = false;
  for (const cell of list.querySelectorAll("[data-choice]")) cell.hidden = false;
  const rows = [...list.querySelectorAll("tbody tr")], boxes = rows.map(row => row.querySelector("input"));
  const page = toolbar.querySelector("[data-select-page]"), buttons = [...toolbar.querySelectorAll("[data-action]")];
  const selected = () => rows.filter((_, k) => boxes[k].checked);
  let last = 0;
  const show = () => {
    const n = selected().length;
    toolbar.querySelector("[data-n-selected]").textContent = n ? `${n} selected` : "";
    for (const button of buttons) button.disabled = !n;
    page.checked = n === rows.length; page.indeterminate = n > 0 && n < rows.length;
  };
  boxes.forEach((box, k) => box.addEventListener("click", event => {
    if (event.shiftKey) for (let j = Math.min(k, last); j <= Math.max(k, last); j += 1) boxes[j].checked = box.checked;
    last = k; show();
  }));
  page.addEventListener("click", () => { for (const box of boxes) box.checked = page.checked; show(); });
  for (const button of buttons) button.addEventListener("click", () => run(actions[button.dataset.action], selected(), rows));
  show();
}

async function run(action, chosen, rows) {
  status.textContent = "";
  try { await action(chosen, rows); } catch (error) { status.append(error.message); }
}

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

// Of recordings that failed there are neither detections nor audio.
function leaveOutFailed(rows) {
  const identified = rows.filter(row => !("failed" in row.dataset)), nFailed = rows.length - identified.length;
  if (nFailed) status.append(`${count(nFailed, "failed recording")} left out: upload ${nFailed === 1 ? "it" : "them"} again. `);
  return identified;
}

// ---------------------------------------------------------------- identify again

async function identifyAgain(chosen) {
  const link = Object.assign(document.createElement("a"), { href: at("/system"), textContent: "Show progress" });
  let nStarted = 0;
  try {
    for (const row of leaveOutFailed(chosen)) {
      await request("POST", `/api/v1/recordings/${row.dataset.sha256}/identify`);
      nStarted += 1;
    }
  } finally {
    if (nStarted) status.append(`${count(nStarted, "recording")} will be identified again. `, link, " ");
  }
}

// ---------------------------------------------------------------- download

async function download(chosen) {
  const recordings = leaveOutFailed(chosen).map(row => row.dataset.sha256);
  if (!recordings.length) return;
  const format = document.querySelector("[data-format]").value;
  const headers = { "X-CSRF-Token": document.documentElement.dataset.csrf, "Content-Type": "application/json" };
  const reply = await fetch(at("/api/v1/recordings/download"), { method: "POST", headers, body: JSON.stringify({ recordings, format }) })
    .catch(() => { throw new Error("Cannot reach the server. Try again later."); });
  if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).detail || `The server returned ${reply.status}.`);
  const url = URL.createObjectURL(await reply.blob());
  Object.assign(document.createElement("a"), { href: url, download: "detections.zip" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser is still reading it
  status.append(`Tables of ${count(recordings.length, "recording")} downloaded.`);
}

// ---------------------------------------------------------------- delete

async function askAndDelete(chosen, rows) {
  if (await confirmDeletion(question(chosen))) await remove(chosen, rows.indexOf(chosen[0]));
}

function question(rows) {
  const sum = name => rows.reduce((n, row) => n + Number(row.dataset[name]), 0);
  const what = rows.length === 1 ? `“${rows[0].querySelector(".name").textContent}”` : count(rows.length, "recording");
  const kept = sum("reviews") ? " Clips of answers stay in the training data." : "";
  return `Delete ${what}, ${count(sum("detections"), "detection")} and ${count(sum("reviews"), "answer")}? This cannot be undone.${kept}`;
}

// The page is read again, so that it is full and its count is right; the focus goes to the row that is there now.
async function remove(rows, index) {
  const reply = await request("POST", "/api/v1/recordings/delete", { recordings: rows.map(row => row.dataset.sha256) });
  status.textContent = `${count(reply.deleted.length, "recording")} deleted.`;
  const html = await (await fetch(location.href)).text();
  const list = new DOMParser().parseFromString(html, "text/html").getElementById("list");
  document.getElementById("list").replaceWith(list);
  prepareSelection();
  const boxes = [...list.querySelectorAll("tbody input")];
  (boxes[Math.min(index, boxes.length - 1)] || document.getElementById("main")).focus();
}
