// Scripts of all pages: each part looks for its own elements, and does nothing on pages without them.
import { confirmDeletion } from "./dialog.js";

const root = document.documentElement.dataset;
export const at = path => root.base + path;
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// ---------------------------------------------------------------- requests

const offline = document.getElementById("offline");

const TIMEOUT_MS = 30_000, LOAD_MS = 300_000, STALL_MS = 60_000, ANSWER_MS = 900_000;

// Fetches a text with a time limit for all of it, so that a server that hangs counts as unreachable.
async function fetchWithin(timeoutMs, url, options) {
  const abort = new AbortController(), timer = setTimeout(() => abort.abort(), timeoutMs);
  try {
    const reply = await fetch(url, { ...options, signal: abort.signal });
    const content = await reply.text();
    offline.hidden = true;
    return { reply, content };
  } catch {
    offline.hidden = false;
    throw new Error(abort.signal.aborted ? `The server did not answer within ${timeoutMs / 1000} s. Try again later.` : "Cannot reach the server. Try again later.");
  } finally { clearTimeout(timer); }
}

export async function request(method, path, body, { timeoutMs = TIMEOUT_MS } = {}) {
  const headers = { "X-CSRF-Token": root.csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  const { reply, content } = await fetchWithin(timeoutMs, at(path), options);
  if (reply.status === 204) return null;
  const fields = parse(content);
  if (!reply.ok) throw Object.assign(new Error(describe(reply, fields)), { status: reply.status, suggestions: fields.suggestions, current: fields.current });
  return fields;
}

function parse(text) { try { return JSON.parse(text) ?? {}; } catch { return {}; } } // of a proxy

// Returns a message without its hints for programs.
const forReaders = text => text.replace(" (new_class=yes)", "");

export const LOGGED_OUT = "Your session has ended. Log in again in another tab, then go on here.";

function describe(reply, fields) {
  if (reply.status === 401) return LOGGED_OUT;
  const later = reply.headers.get("Retry-After"), cause = forReaders(fields.detail || "") || `The server returned ${reply.status}.`;
  return later && !/again/.test(cause) ? `${cause} Try again in ${later} s.` : cause;
}

// Returns a page of this server as it is now; null where it cannot be read or shows an error, which a banner says.
export async function fetchPage(url) {
  try {
    const { reply, content } = await fetchWithin(TIMEOUT_MS, url, { headers: { Accept: "text/html" } });
    offline.hidden = reply.ok;
    if (reply.redirected) location.reload(); // logged out
    return reply.ok && !reply.redirected ? new DOMParser().parseFromString(content, "text/html") : null;
  } catch { return null; }
}

// Sends a form and reports the upload progress; resolves with the finished request. It may take as long as it goes on.
export function send(url, form, onProgress) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    let timer = 0;
    const wait = (milliseconds, text) => { clearTimeout(timer); timer = setTimeout(() => { xhr.abort(); fail(text); }, milliseconds); };
    const fail = text => { clearTimeout(timer); offline.hidden = false; reject(new Error(text)); };
    xhr.open("POST", url);
    xhr.setRequestHeader("X-CSRF-Token", root.csrf);
    xhr.upload.onprogress = event => { wait(STALL_MS, "The transfer has stopped. Try again later."); if (event.lengthComputable) onProgress(event.loaded / event.total); };
    xhr.upload.onload = () => wait(ANSWER_MS, "The server did not answer. Try again later.");
    xhr.onload = () => { clearTimeout(timer); offline.hidden = true; resolve(xhr); };
    xhr.onerror = () => fail("Cannot reach the server, or it ended the transfer.");
    wait(STALL_MS, "The transfer has stopped. Try again later.");
    xhr.send(form);
  });
}

window.addEventListener("offline", () => { offline.hidden = false; });
window.addEventListener("online", () => { offline.hidden = true; });

// ---------------------------------------------------------------- dropping files

function droppable(form, receive) {
  const over = on => event => { event.preventDefault(); form.classList.toggle("over", on); };
  form.addEventListener("dragover", over(true));
  form.addEventListener("dragleave", over(false));
  form.addEventListener("drop", event => { over(false)(event); if (event.dataTransfer.files.length) receive(event.dataTransfer.files); });
}

// ---------------------------------------------------------------- buttons that send a request

for (const button of all("[data-post], [data-delete]")) {
  button.addEventListener("click", async () => {
    const { post, ask: question, then } = button.dataset;
    if (question && !await confirmDeletion(question)) return;
    const status = button.closest("section, article, main").querySelector("[data-status]") || document.querySelector("[data-status]");
    button.disabled = true;
    try {
      const wait = post ? { timeoutMs: LOAD_MS } : {};
      const reply = await request(post ? "POST" : "DELETE", post || button.dataset.delete, undefined, wait);
      location.href = at(then.replace("{id}", reply?.id)); // of the job that was started
    } catch (error) { button.disabled = false; status.textContent = error.message; }
  });
}

// ---------------------------------------------------------------- names of species

// The model has thousands of names, which are loaded when the user focuses a field for them.
document.addEventListener("focusin", async event => {
  const list = event.target.matches("[list=species]") && document.getElementById("species");
  if (!list || list.childElementCount) return;
  const names = (await request("GET", "/api/classes")).classes;
  if (!list.childElementCount) list.append(...names.map(name => new Option(name)));
});

// ---------------------------------------------------------------- training data

const OUTCOMES = { accepted: "added", duplicate: "already here", rejected: "rejected" };

function describeOutcome({ status, species, reason }) {
  return [OUTCOMES[status], species].filter(Boolean).join(", ") + (reason ? `: ${forReaders(reason)}` : "");
}

const MAX_REJECTED = 50;

// The reasons of the rejected files of an upload that is one line.
function listRejected(files) {
  const rejected = files.filter(each => each.status === "rejected");
  if (!rejected.length) return [];
  const list = document.createElement("ul");
  list.append(...rejected.slice(0, MAX_REJECTED).map(each => Object.assign(document.createElement("li"), { textContent: `${each.name}: ${forReaders(each.reason)}` })));
  if (rejected.length > MAX_REJECTED) list.append(Object.assign(document.createElement("li"), { textContent: `and ${rejected.length - MAX_REJECTED} more` }));
  return [list];
}

for (const form of all("[data-training-data]")) {
  const list = form.querySelector("[data-files]"), status = form.querySelector("[data-status]");
  const input = form.querySelector("[name=audio]"), folder = form.querySelector("[data-folder] input");
  const questions = form.querySelector("[data-questions]");
  form.querySelector("[data-folder]").hidden = !("webkitdirectory" in folder);
  const sendAll = files => {
    const tables = files.filter(file => /\.csv$/i.test(file.name)), species = form.elements.species.value;
    // A table describes the other files, so they are sent together; without one, each file is a request of its own.
    return sendBatches((tables.length ? [files] : files.map(file => [file])).map(batch => ({ files: batch, species })));
  };
  const sendBatches = async (batches, newClass = "", unanswered = []) => {
    let nAccepted = 0, nRejected = 0;
    const open = [...unanswered];
    for (const { files: batch, species } of batches) {
      const line = document.createElement("li"), name = document.createElement("span"), bar = document.createElement("progress"), word = document.createElement("span");
      name.textContent = batch.length > 1 ? `${batch.length} files` : batch[0].webkitRelativePath || batch[0].name;
      bar.max = 1; bar.value = 0; bar.setAttribute("aria-label", `Upload progress of ${name.textContent}`);
      line.append(bar, name, word); list.append(line);
      const body = new FormData();
      body.append("species", species);
      body.append("new_class", newClass);
      for (const file of batch) body.append("audio", file, file.webkitRelativePath || file.name);
      try {
        const reply = await send(at("/api/v1/training-data"), body, share => { bar.value = share; });
        const result = JSON.parse(reply.responseText);
        if (!result.files) throw new Error(result.detail); // rejected files have their reasons, even if no file was accepted
        nAccepted += result.n_accepted; nRejected += result.files.filter(each => each.status === "rejected").length;
        const asked = new Set(result.files.filter(each => each.suggestions).map(each => each.reason));
        if (asked.size) open.push({ files: batch, species, asked });
        word.textContent = result.files.length > 3 ? `${result.n_accepted} of ${result.files.length} added` : result.files.map(describeOutcome).join("; ");
        if (result.files.length > 3) line.append(...listRejected(result.files));
      } catch (error) { word.textContent = error.message; nRejected += 1; }
      status.textContent = `${nAccepted} added, ${nRejected} rejected`;
    }
    if (nAccepted) status.append(". ", Object.assign(document.createElement("a"), { textContent: "Show the training data", href: location.pathname }));
    askAboutClasses(questions, open, (chosen, others) => sendBatches(chosen, "yes", others));
    if (nAccepted && !nRejected && !open.length) location.reload();
  };
  droppable(form, files => sendAll([...files]));
  form.addEventListener("submit", event => { event.preventDefault(); sendAll([...input.files]); });
  folder.addEventListener("change", () => sendAll([...folder.files].filter(file => !file.name.startsWith("."))));
}

// One question for each unknown name; what is sent again has consent for all its names.
function askAboutClasses(box, batches, sendAgain) {
  const reasons = [...new Set(batches.flatMap(batch => [...batch.asked]))];
  box.hidden = !reasons.length;
  const boxes = reasons.map(reason => Object.assign(document.createElement("input"), { type: "checkbox", value: reason }));
  box.querySelector("ul").replaceChildren(...boxes.map(consent => {
    const line = document.createElement("li"), label = document.createElement("label");
    label.append(consent, " This is a new class");
    line.append(`${forReaders(consent.value)} `, label);
    return line;
  }));
  box.querySelector("button").onclick = () => {
    const consented = new Set(boxes.filter(consent => consent.checked).map(consent => consent.value));
    const isChosen = batch => [...batch.asked].every(reason => consented.has(reason));
    const chosen = batches.filter(isChosen);
    if (chosen.length) sendAgain(chosen, batches.filter(batch => !isChosen(batch)));
  };
}

for (const form of all("[data-retrain]")) {
  form.addEventListener("submit", async event => {
    event.preventDefault();
    const status = form.querySelector("[data-status]");
    try {
      const epochs = form.elements.epochs.value;
      const options = { require_approval: form.elements.require_approval.checked, overrides: epochs ? [`trainer.epochs=${epochs}`] : [] };
      follow(document.querySelector("[data-job]"), (await request("POST", "/api/v1/retrain", options)).id);
      form.querySelector("button").disabled = true;
    } catch (error) { status.textContent = error.message; }
  });
}

// ---------------------------------------------------------------- running jobs

// The events of a finished job are replayed for its curve and its log.
function follow(box, id, isOver = false) {
  const part = name => box.querySelector(`[data-${name}]`);
  const losses = [];
  const button = part("cancel"); // null for a role that may not
  const allowCancel = isAllowed => { if (button) button.hidden = !isAllowed; };
  box.hidden = false; allowCancel(!isOver); part("error").hidden = true;
  if (part("log")) { part("log").textContent = ""; part("curve").setAttribute("hidden", ""); } // those of another job
  if (box.dataset.job !== id) document.querySelector("[data-result]")?.setAttribute("hidden", "");
  box.dataset.job = id;
  const source = new EventSource(at(`/api/v1/jobs/${id}/events`));
  const cancel = async () => { button.disabled = true; try { await request("POST", `/api/v1/jobs/${id}/cancel`); } catch (error) { part("stage").textContent = error.message; } };
  if (button) button.onclick = cancel;
  source.onmessage = event => {
    offline.hidden = true;
    const state = JSON.parse(event.data);
    box.querySelector("progress").value = state.progress;
    part("stage").textContent = [state.stage, state.epoch && `epoch ${state.epoch} of ${state.n_epochs}`, state.message].filter(Boolean).join(", ");
    part("left").textContent = state.left_s > 1 ? `${Math.ceil(state.left_s)} s left` : "";
    if (state.metrics && state.metrics.loss !== undefined) { losses.push(state.metrics.loss); curve(part("curve"), losses); }
    if (state.message && part("log")) part("log").textContent += `${state.message}\n`;
    if (state.error) { part("error").textContent = state.error; part("error").hidden = false; }
  };
  source.onerror = () => {
    offline.hidden = false;
    if (source.readyState === 2) setTimeout(() => follow(box, id, isOver), 3000); // the response was no stream
  };
  source.addEventListener("end", async () => {
    source.close(); allowCancel(false);
    if (isOver) return;
    const job = await request("GET", `/api/v1/jobs/${id}`);
    if (job.status === "done") location.href = box.dataset.then ? at(job.kind === "identify" ? `/recordings/${job.result.recording}` : "/training") : location.pathname;
    else if (box.dataset.then) location.reload(); // the page says how to start again
    else for (const form of all("[data-retrain]")) form.querySelector("button").disabled = false;
  });
}

function curve(svg, losses) {
  const top = Math.max(...losses), x = k => 10 + 580 * k / Math.max(losses.length - 1, 1), y = v => 150 - 120 * v / top;
  svg.removeAttribute("hidden"); // an SVG has no property for it
  svg.querySelector("polyline").setAttribute("points", losses.map((v, k) => `${x(k)},${y(v)}`).join(" "));
  const [first, last] = svg.querySelectorAll("text");
  first.textContent = `loss ${losses.at(-1).toFixed(3)}`; last.textContent = `epoch ${losses.length}`;
}

for (const box of all("[data-job]")) if (box.dataset.job) follow(box, box.dataset.job, !box.dataset.live);
