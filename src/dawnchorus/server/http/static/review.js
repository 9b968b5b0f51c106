// Reviewing: an answer is shown at once and saved behind, in the order of the answers. It is kept until it is saved.
import { request } from "./page.js";
import { focusSpecies as focusField, setSpecies } from "./species_picker.js";

export const VERDICTS = { correct: "correct", incorrect: "incorrect", relabeled: "another species", several: "several species", unsure: "unsure", none: "nothing there" };

// Events: "reviewed" and "undone" with the id of a detection and its review now, "gone" with the id of a deleted one.
export const answers = new EventTarget();

function report(name, detail) { answers.dispatchEvent(new CustomEvent(name, { detail })); }

// ---------------------------------------------------------------- the form

const box = document.querySelector("[data-review]"); // null without detections, and for a role that may not answer
const part = name => box.querySelector(`[data-${name}]`);
const relabelForm = box && part("relabel");
const shown = new Map(); // reviews by detection, as the person sees them
let current = null; // the detection that the form shows

export const mayAnswer = Boolean(box);

export const modelName = detection => detection.model_common_name ?? detection.common_name;

// Writes a review into a detection, whose species is that of the review, otherwise the model's.
export function applyReview(detection, review) {
  const isRelabeled = review?.verdict === "relabeled" && Boolean(review.common_name);
  for (const name of ["common_name", "scientific_name"]) {
    const detected = detection[`model_${name}`] ?? detection[name];
    detection[name] = isRelabeled ? review[name] : detected;
    detection[`model_${name}`] = isRelabeled ? detected : null;
  }
  detection.review = review;
}

// Shows a detection in the form, with its review or the answer that is not saved yet.
export function showReview(detection) {
  if (!box) return;
  current = detection;
  const { id } = detection, waiting = find(id);
  box.dataset.review = id;
  if (!waiting) shown.set(id, detection.review);
  const name = modelName(detection);
  box.querySelector("[role=group]").setAttribute("aria-label", `Is it a ${name}?`);
  relabelForm.querySelector("label").textContent = `Another species than ${name}`;
  setSpecies(relabelForm.elements.species, (waiting ? waiting.review?.species : detection.review?.common_name) ?? "");
  showVerdict(shown.get(id));
  showClassQuestion(false);
}

function showVerdict(review) {
  for (const button of box.querySelectorAll("[name=verdict]:not([value=skip])")) button.setAttribute("aria-pressed", String(button.value === review?.verdict));
}

function showStatus(text) { part("status").textContent = text; }

// The confirmation is for one name, so it is cleared when the name changes.
function showClassQuestion(isVisible) {
  part("new-class").hidden = !isVisible;
  relabelForm.elements.new_class.checked = false;
}

function describe({ name, review }) {
  return `${name}: ${review ? (review.species ?? VERDICTS[review.verdict]) : "answer"}`;
}

// ---------------------------------------------------------------- saving

const REFUSED = [400, 404, 409, 422]; // the same answer would be refused again
const unsaved = new Set();
let saving = Promise.resolve(), nAnswers = 0;
let undoable = Number(box?.dataset.undoable) || null; // id of the answer that is taken back next

const find = id => [...unsaved].findLast(answer => answer.id === id);

// Sets the review of the detection that is shown; null deletes it. Resolves with true when it is saved.
export function setReview(review) {
  const { id, recording } = current, before = shown.get(id) ?? null;
  const answer = { id, recording, name: modelName(current), review, before, replaces: before?.answer ?? current.review?.answer ?? 0, problem: "" };
  return enqueue(answer);
}

function enqueue(answer) {
  keep(answer);
  add(answer);
  if (isShown(answer)) {
    showClassQuestion(false);
    if (answer.review?.verdict !== "relabeled") showVerdict(answer.review); // its name may be unknown
  }
  showStatus(`${describe(answer)}, saving`);
  showUndo();
  const saved = saving.then(() => save(answer));
  saving = saved;
  return saved;
}

function add(answer) {
  answer.number = nAnswers += 1;
  unsaved.add(answer);
  shown.set(answer.id, answer.review);
}

const isShown = answer => current?.id === answer.id && find(answer.id) === answer;

async function save(answer) {
  if (!unsaved.has(answer)) return true; // it is saved, a later one is, or it was taken back
  if (isOutdated(answer)) { removeUntil(answer); showUnsaved(); return true; }
  const { id, recording, review, replaces } = answer, path = `/api/v1/detections/${id}/review`;
  try {
    const saved = await (review ? request("PUT", path, { ...review, replaces, recording }) : request("DELETE", `${path}?replaces=${replaces}&recording=${recording}`));
    const isLast = find(id) === answer;
    removeUntil(answer);
    undoable = saved?.answer ?? null;
    if (isLast) shown.set(id, saved);
    if (isLast && current?.id === id) showVerdict(saved);
    showStatus(saved ? `${describe(answer)}, saved` : `${answer.name}: answer removed`);
    report("reviewed", { id, review: saved });
    return true;
  } catch (error) {
    answer.problem = error.message;
    refuse(answer, error);
    return false;
  } finally { showUnsaved(); }
}

// Keeps an answer that can be sent again; others are said to be lost.
function refuse(answer, error) {
  if (!REFUSED.includes(error.status)) {
    showStatus(`${answer.name}: not saved. ${answer.problem}`);
    return;
  }
  const wasShown = isShown(answer);
  showStatus(`${describe(answer)}, not saved`);
  remove(answer);
  if (!find(answer.id)) restore(answer.id, error.current ?? answer.before);
  if (error.status === 404) {
    notify(`${answer.name} was deleted while you reviewed it. Your answer was not saved.`);
    report("gone", { id: answer.id });
  } else if (error.status === 409) {
    askAboutConflict(answer, error);
    if (error.current) report("reviewed", { id: answer.id, review: error.current });
  } else {
    showStatus(answer.problem);
    if (!wasShown) notify(`${answer.name}: ${answer.problem}`);
    else showClassQuestion(Boolean(error.suggestions));
  }
}

// Shows a review in place of an answer that is no more.
function restore(id, review) {
  shown.set(id, review);
  if (current?.id === id) showVerdict(review);
}

// Earlier answers to the same detection are out of date too.
function removeUntil(answer) {
  for (const each of unsaved) {
    if (each.id === answer.id) remove(each);
    if (each === answer) return;
  }
}

function remove(answer) {
  unsaved.delete(answer);
  forget(answer);
}

const unsavedLine = document.querySelector("[data-unsaved]");

function showUnsaved() {
  const failed = new Set([...unsaved].filter(answer => answer.problem).map(answer => answer.id));
  unsavedLine.hidden = !failed.size;
  unsavedLine.querySelector("span").textContent = failed.size ? `${failed.size} answer${failed.size === 1 ? "" : "s"} waiting to be sent` : "";
  showUndo();
}

function saveAgain() {
  for (const answer of unsaved) if (answer.problem) saving = saving.then(() => save(answer));
}

unsavedLine?.querySelector("button").addEventListener("click", saveAgain);
window.addEventListener("online", saveAgain);
window.addEventListener("beforeunload", event => { if (unsaved.size) event.preventDefault(); });

// ---------------------------------------------------------------- kept answers

// An answer is kept in this browser until it is saved or refused, so it outlives a closed tab; of a detection, the last one.
const KEPT = `${document.documentElement.dataset.base}/answer/`;

function keep(answer) {
  answer.key = `${Date.now()}-${Math.random()}`;
  const { id, recording, name, review, before, replaces, isUndo, key } = answer;
  try {
    localStorage.setItem(KEPT + id, JSON.stringify({ id, recording, name, review, before, replaces, isUndo, key }));
    answer.isKept = true;
  } catch { answer.isKept = false; } // no space, or not allowed
}

function readKept(name) {
  try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
}

function forget(answer) {
  if (answer.isKept && readKept(KEPT + answer.id)?.key === answer.key) localStorage.removeItem(KEPT + answer.id);
}

// Another tab has saved the answer, or its person has answered otherwise there.
function isOutdated(answer) {
  return answer.isKept && find(answer.id) === answer && readKept(KEPT + answer.id)?.key !== answer.key;
}

// Sends what earlier visits could not. An answer that the server has already changes nothing there.
function sendKept() {
  let names = [];
  try { names = Object.keys(localStorage).filter(name => name.startsWith(KEPT)); } catch { return; } // not allowed
  const kept = names.map(readKept).filter(Boolean).sort((a, b) => parseInt(a.key) - parseInt(b.key)); // as they were given
  for (const answer of kept) add({ ...answer, isKept: true, problem: "kept" });
  if (kept.length) { showUnsaved(); saveAgain(); }
}

// ---------------------------------------------------------------- notices

function notify(text, actions = {}) {
  const line = document.createElement("p");
  line.className = "problem";
  line.append(text);
  for (const [name, act] of Object.entries({ ...actions, Close: () => {} })) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: name });
    button.addEventListener("click", () => { line.remove(); act(); });
    line.append(" ", button);
  }
  document.querySelector("[data-notices]").append(line);
}

function askAboutConflict(answer, error) {
  const again = () => enqueue({ ...answer, before: error.current, replaces: error.current?.answer ?? 0, problem: "" });
  notify(`${describe(answer)}; ${error.message}`, { "Replace with mine": again });
}

// ---------------------------------------------------------------- undo

function showUndo() { part("undo").querySelector("button").disabled = !undoable && !unsaved.size && !mayUndo; }

let mayUndo = Boolean(undoable); // whether this browser has answered anything that it may take back

// Takes back the last answer of this browser, also of an earlier visit: of those that wait here, then of the saved ones.
export function undo() {
  if (!box) return;
  const last = nAnswers; // what is answered later is not meant
  saving = saving.then(() => takeBack(last));
}

// What was there before is sent, since the server may have the answer: its reply may have been lost.
function undoHere(waiting) {
  remove(waiting);
  enqueue({ ...waiting, review: asRequest(waiting.before), problem: "", isUndo: true });
  restore(waiting.id, waiting.before);
  showStatus(`${describe(waiting)}, taken back`);
  report("undone", { id: waiting.id, review: waiting.before });
  showUnsaved();
}

function asRequest(review) {
  if (review?.verdict !== "relabeled") return review && { verdict: review.verdict };
  return { verdict: "relabeled", species: review.species ?? review.scientific_name, new_class: true };
}

async function takeBack(last) {
  const waiting = [...unsaved].findLast(answer => answer.number <= last && !answer.isUndo);
  if (waiting) { undoHere(waiting); return; }
  try {
    const { answer, detection, undoable: next } = await request("POST", "/api/v1/reviews/undo", undoable ? { answer: undoable } : {});
    undoable = next;
    mayUndo = Boolean(next);
    restore(detection.id, detection.review);
    const name = modelName(detection), species = answer.common_name ?? undefined;
    showStatus(`${describe({ name, review: answer.verdict && { verdict: answer.verdict, species } })}, taken back`);
    report("undone", { id: detection.id, review: detection.review, detection });
  } catch (error) {
    if (REFUSED.includes(error.status)) undoable = null; // the next one is what the server finds
    if (error.status === 404) mayUndo = false;
    showStatus(error.message);
  }
  showUndo();
}

// ---------------------------------------------------------------- events

// Saves the typed species, and resolves with true when it is; without one, the field is focused.
export async function relabel() {
  const { species: input, new_class: consent } = relabelForm.elements, species = input.value.trim();
  if (species) return setReview({ verdict: "relabeled", species, new_class: consent.checked });
  focusField(input);
  return false;
}

export function focusSpecies() { if (relabelForm) focusField(relabelForm.elements.species); }

function watchForms() {
  relabelForm.addEventListener("input", event => { if (event.target.type !== "checkbox") showClassQuestion(false); });
  relabelForm.addEventListener("keydown", watchSpeciesKeys);
  part("undo").addEventListener("submit", event => { event.preventDefault(); undo(); });
  answers.addEventListener("reviewed", () => { mayUndo = true; showUndo(); });
}

// The key that chooses a species also sends it.
function watchSpeciesKeys(event) {
  if (!event.target.matches("[role=combobox]")) return;
  if (event.key === "Escape") event.target.blur();
  if (event.key === "Enter" && event.defaultPrevented && relabelForm.elements.species.value) relabelForm.requestSubmit();
}

if (box) { watchForms(); sendKept(); }

// Calls `choose` with the verdict of a button, null to delete the one that is set, and `name` when a species is sent.
export function watchButtons(choose, name) {
  if (!box) return;
  part("verdicts").addEventListener("submit", event => {
    event.preventDefault();
    const { submitter } = event;
    choose(submitter.getAttribute("aria-pressed") === "true" ? null : submitter.value);
  });
  relabelForm.addEventListener("submit", event => { event.preventDefault(); name(); });
}
