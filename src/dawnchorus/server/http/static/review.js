// Reviewing: an answer is shown at once and saved behind, in the order of the answers. It is kept until it is saved.
import { watchKeys } from "./keys.js";
import { request } from "./page.js";

// ---------------------------------------------------------------- saving

const REFUSED = [400, 404, 422]; // the same answer would be refused again
const unsaved = new Set();
const latest = new Map(); // by detection
let saving = Promise.resolve();

// Sets the review of the detection that a form shows; null deletes it.
export function setReview(form, review) {
  const answer = { form, id: Number(form.dataset.review), review, problem: "" };
  unsaved.add(answer);
  latest.set(answer.id, answer);
  showClassQuestion(form, false);
  if (review?.verdict !== "relabeled") showVerdict(form, review); // its name may be unknown
  showStatus(form, "saving");
  saving = saving.then(() => save(answer));
}

async function save(answer) {
  if (!unsaved.has(answer)) return; // it is saved, or a later one is
  const { form, id, review } = answer, path = `/api/v1/detections/${id}/review`;
  const isShown = () => latest.get(id) === answer && Number(form.dataset.review) === id;
  try {
    const saved = await (review ? request("PUT", path, review) : request("DELETE", path));
    removeUntil(answer);
    if (isShown()) { showVerdict(form, saved); showStatus(form, saved ? "saved" : "deleted"); }
    form.dispatchEvent(new CustomEvent("reviewed", { detail: { id, review: saved } }));
  } catch (error) {
    answer.problem = error.message;
    if (REFUSED.includes(error.status)) unsaved.delete(answer);
    if (isShown()) { showStatus(form, describeProblem(answer)); showClassQuestion(form, Boolean(error.suggestions)); }
  }
  showUnsaved();
}

// Earlier answers to the same detection are out of date too.
function removeUntil(answer) {
  for (const each of unsaved) {
    if (each.id === answer.id) unsaved.delete(each);
    if (each === answer) return;
  }
}

function describeProblem(answer) { return unsaved.has(answer) ? `Not saved: ${answer.problem}` : answer.problem; }

const box = document.querySelector("[data-unsaved]");

function showUnsaved() {
  const failed = new Set([...unsaved].filter(answer => answer.problem).map(answer => answer.id));
  box.hidden = !failed.size;
  box.querySelector("span").textContent = failed.size ? `${failed.size} answer${failed.size === 1 ? "" : "s"} not saved` : "";
}

function saveAgain() {
  for (const answer of unsaved) if (answer.problem) saving = saving.then(() => save(answer));
}

box?.querySelector("button").addEventListener("click", saveAgain);
window.addEventListener("online", saveAgain);
window.addEventListener("beforeunload", event => { if (unsaved.size) event.preventDefault(); });

// ---------------------------------------------------------------- forms

// Shows the review of a detection that a form changes to, or the answer that is not saved yet.
export function showReview(form, review) {
  const last = latest.get(Number(form.dataset.review)), answer = unsaved.has(last) ? last : null;
  showVerdict(form, answer ? answer.review : review);
  form.elements.species.value = (answer ? answer.review?.species : review?.common_name) ?? "";
  showStatus(form, !answer ? "" : answer.problem ? describeProblem(answer) : "saving");
  showClassQuestion(form, false);
}

function showVerdict(form, review) {
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === review?.verdict));
}

function showStatus(form, text) { form.querySelector("[data-status]").textContent = text; }

// The confirmation is for one name, so it is cleared when the name changes.
function showClassQuestion(form, isVisible) {
  form.querySelector("[data-new-class]").hidden = !isVisible;
  form.elements.new_class.checked = false;
}

function relabel(form) {
  const { species: input, new_class: consent } = form.elements, species = input.value.trim();
  if (species) setReview(form, { verdict: "relabeled", species, new_class: consent.checked });
  else input.focus();
}

for (const form of document.querySelectorAll("[data-review]")) {
  form.elements.species.addEventListener("input", () => showClassQuestion(form, false));
  form.addEventListener("submit", event => { event.preventDefault(); relabel(form); });
  for (const button of form.querySelectorAll("button[type=button]")) {
    button.addEventListener("click", () => setReview(form, button.getAttribute("aria-pressed") === "true" ? null : { verdict: button.value }));
  }
}

// ---------------------------------------------------------------- the queue, by keys

function watchQueue(queue) {
  const cards = [...queue.querySelectorAll(".card")];
  let framed = 0;
  const frame = k => {
    framed = k;
    cards.forEach((card, j) => card.classList.toggle("here", j === k));
  };
  const move = step => {
    frame(Math.min(Math.max(framed + step, 0), cards.length - 1));
    cards[framed].scrollIntoView({ block: "nearest" });
  };
  const answer = verdict => { setReview(cards[framed].querySelector("form"), { verdict }); move(1); };
  const play = () => { const audio = cards[framed].querySelector("audio"); if (audio.paused) audio.play(); else audio.pause(); };
  const frameTarget = event => { const card = event.target.closest(".card"); if (card) frame(cards.indexOf(card)); };
  queue.addEventListener("focusin", frameTarget);
  queue.addEventListener("click", frameTarget);
  frame(0);
  watchKeys(
    { j: () => move(1), k: () => move(-1), y: () => answer("correct"), n: () => answer("incorrect"), " ": play },
    document.querySelector("[data-control=keys]"),
  );
}

document.querySelectorAll("[data-queue]").forEach(watchQueue);
