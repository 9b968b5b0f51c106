// Identify: a queue of files in the browser, two of which are sent at a time, each in a request of its own.
import { LOGGED_OUT, at, request, send } from "./page.js";

const N_SENDING = 2, N_JOBS = 8, N_ROWS = 200, MAX_ATTEMPTS = 3, POLL_MS = 2000, DRAW_MS = 250;
const AUDIO = /\.(wav|wave|w64|rf64|flac|mp3|ogg|oga|opus|m4a|mp4|aac|aiff?|aifc|caf|au|wma|webm|amr|3gp)$/i;
const STATES = ["failed", "sending", "analyzing", "done", "waiting"];

const form = document.querySelector("[data-identify]"), box = document.querySelector("[data-uploads]");
const part = name => box.querySelector(`[data-${name}]`);
const status = form.querySelector("[data-status]"), rows = part("rows");
const input = form.elements.audio, folder = form.querySelector("[data-folder] input");

const uploads = []; // of all states; files that are done are released
const waiting = [];
let isStarted = false, isPaused = false, isServerBusy = false, nSending = 0, nSkipped = 0, startedAt = 0, nFinishedAtStart = 0, drawing = 0, polling = 0;
let nChoices = 0, nShown = N_ROWS;
const collator = new Intl.Collator("en", { numeric: true });

const count = state => uploads.reduce((n, upload) => n + (upload.state === state), 0);
const show = n => n.toLocaleString("en");

// ---------------------------------------------------------------- settings that this browser remembers

const KEY = "dawnchorus.identify";
const settings = [...form.querySelectorAll("[data-remember]")];

function remember() {
  try { localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(settings.map(field => [field.name, field.value])))); } catch { /* it is not allowed */ }
}

function recall() {
  let known = {};
  try { known = JSON.parse(localStorage.getItem(KEY)) || {}; } catch { /* it is not allowed, or not ours */ }
  for (const field of settings) if (typeof known[field.name] === "string") field.value = known[field.name];
  if (settings.some(field => field.closest("details") && field.value)) form.querySelector("details").open = true;
}

// Decimal commas and hemispheres are left to the server; a number that can be no coordinate is not sent with each file.
function checkLocation() {
  const { lat, lon } = form.elements;
  for (const [field, limit] of [[lat, 90], [lon, 180]]) {
    const text = field.value.trim();
    field.setCustomValidity(text && !/\d/.test(text) || Math.abs(Number(text)) > limit ? `Give degrees from -${limit} to ${limit}.` : "");
  }
  const isHalf = !lat.value.trim() !== !lon.value.trim();
  if (isHalf) lon.setCustomValidity("Give latitude and longitude, or neither.");
}

// ---------------------------------------------------------------- files in

// Files of one choice, such as a folder, are in the order of their names, in whatever order the browser reads them.
const inOrder = (one, other) => one.choice - other.choice || collator.compare(one.path, other.path);

function add(files, choice) {
  for (const { file, directory, path } of files) {
    const upload = { file, name: file.name, folder: directory, path, choice, site: /^\d{8}[_T-]?\d{6}/.test(file.name) ? directory : "", state: "waiting", share: 0, attempts: 0, text: "", job: null, recording: null, warnings: [], row: null };
    uploads.push(upload);
    if (file.size > Number(form.dataset.maxBytes)) finish(upload, "failed", `The file is larger than ${Number(form.dataset.maxBytes) >> 20} MB.`);
    else waiting.push(upload);
  }
  uploads.sort(inOrder); waiting.sort(inOrder);
  showBox();
  draw(); pump();
}

function showBox() {
  input.required = !uploads.length;
  box.hidden = !uploads.length;
}

function remove(upload) {
  for (const list of [uploads, waiting]) if (list.includes(upload)) list.splice(list.indexOf(upload), 1);
  showBox(); draw();
}

function addAll(files, isFolder, choice = ++nChoices) {
  const wanted = isFolder || files.length > 1 ? files.filter(file => isAudio(file)) : files;
  nSkipped += files.length - wanted.length;
  add(wanted.map(file => ({ file, directory: file.webkitRelativePath.split("/").at(-2) || "", path: file.webkitRelativePath || file.name })), choice);
}

const isAudio = file => !file.name.startsWith(".") && (file.type.startsWith("audio/") || AUDIO.test(file.name));

// A dropped folder is read piece by piece, so that its first files are there at once.
async function addDropped(dropped) {
  if (dropped.length === 1 && dropped[0].isFile) { addAll([await readFile(dropped[0])], false); return; }
  const open = [...dropped], choice = ++nChoices;
  while (open.length) {
    const entry = open.shift();
    if (entry.isFile) { await addEntries([entry], "", choice); continue; }
    const reader = entry.createReader();
    for (;;) {
      const children = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
      if (!children.length) break;
      open.push(...children.filter(each => each.isDirectory && !each.name.startsWith(".")));
      await addEntries(children.filter(each => each.isFile), entry.name, choice);
    }
  }
}

const readFile = entry => new Promise((resolve, reject) => entry.file(resolve, reject));

async function addEntries(entries, directory, choice) {
  const read = await Promise.all(entries.map(async entry => ({ file: await readFile(entry).catch(() => null), directory, path: entry.fullPath })));
  const files = read.filter(each => each.file), wanted = files.filter(each => isAudio(each.file));
  nSkipped += files.length - wanted.length;
  add(wanted, choice);
}

// ---------------------------------------------------------------- files out

function start() {
  isStarted = true; startedAt = performance.now(); nFinishedAtStart = count("done") + count("failed");
  remember(); pump();
}

function pump() {
  if (!isStarted || isPaused || isServerBusy) return;
  while (waiting.length && nSending < N_SENDING && count("analyzing") < N_JOBS) sendNext(waiting.shift());
}

async function sendNext(upload) {
  nSending += 1; upload.state = "sending"; upload.share = 0; upload.attempts += 1; draw();
  const body = new FormData();
  for (const field of settings) if (field.value.trim()) body.append(field.name, field.value.trim());
  for (const name of ["merge", "store", "own_location_first"]) body.append(name, "true");
  if (upload.site) body.append("site", upload.site);
  body.append("audio", upload.file, upload.name);
  try {
    receive(upload, await send(at("/api/v1/identify"), body, share => { upload.share = share; draw(); }));
  } catch (error) {
    const isReachable = await request("GET", "/api/v1/health/live").then(() => true, () => false);
    if (!isReachable) upload.attempts -= 1; // it is not because of the file
    if (upload.attempts >= MAX_ATTEMPTS) finish(upload, "failed", error.message);
    else wait(upload, 5);
  }
  nSending -= 1;
  draw(); pump();
}

function receive(upload, reply) {
  let content = {};
  try { content = JSON.parse(reply.responseText); } catch { /* of a proxy */ }
  if (reply.status === 200) { upload.recording = content.sha256; finish(upload, "done", "", { species: summarize(content.detections), warnings: content.warnings }); }
  else if (reply.status === 202) { upload.job = content.id; upload.state = "analyzing"; upload.recording = content.parameters.sha256; follow(); }
  else if ([503, 429].includes(reply.status)) { upload.attempts = 0; wait(upload, Number(reply.getResponseHeader("Retry-After")) || 5); }
  else if (reply.status === 401) finish(upload, "failed", LOGGED_OUT);
  else finish(upload, "failed", nameFields(content.detail || `The server answered ${reply.status}.`).replace(`${upload.name}: `, ""));
}

// Returns a message with the labels of fields in place of the names that requests have: "lat: expected …" is about Latitude.
function nameFields(message) {
  const field = settings.find(each => message.startsWith(`${each.name}: `));
  return field ? message.replace(field.name, field.labels[0].firstChild.textContent.trim()) : message;
}

// The server is busy or cannot be reached: the file goes to the front of the queue, and is sent again later.
function wait(upload, seconds) {
  upload.state = "waiting"; waiting.unshift(upload);
  isServerBusy = true;
  setTimeout(() => { isServerBusy = false; pump(); }, 1000 * seconds);
}

function finish(upload, state, text, { species = null, warnings = [] } = {}) {
  Object.assign(upload, { state, text, species, warnings, job: null });
  if (state === "done") upload.file = null;
  draw();
  if (!isStarted) return;
  if (uploads.length === 1) finishOnly(upload);
  else if (!uploads.some(isActive)) status.textContent = `All ${show(uploads.length)} files are finished: ${show(count("done"))} done, ${show(count("failed"))} failed.`;
}

const mayRetry = upload => upload.state === "failed" && upload.file;
const isActive = upload => !["done", "failed"].includes(upload.state);

function finishOnly(upload) {
  if (upload.state === "failed") status.textContent = `${upload.name}: ${upload.text}`;
  else location.href = at(`/recordings/${upload.recording}`);
}

// Long recordings are jobs, which go on without this page.
function follow() {
  if (uploads.length === 1) { const { job } = uploads[0]; uploads[0].state = "done"; location.href = at(`/jobs/${job}`); return; }
  if (polling) return;
  polling = setInterval(async () => {
    const jobs = uploads.filter(upload => upload.job);
    if (!jobs.length) { clearInterval(polling); polling = 0; return; }
    for (const upload of jobs) {
      const job = await request("GET", `/api/v1/jobs/${upload.job}`).catch(() => null);
      if (!job) return;
      upload.share = job.progress;
      if (job.status === "done") finish(upload, "done", `${show(job.result.n_detections)} detections`, { warnings: job.result.warnings });
      else if (["failed", "cancelled"].includes(job.status)) finish(upload, "failed", (job.error || "cancelled").replace(`${upload.name}: `, ""));
    }
    draw(); pump();
  }, POLL_MS);
}

const degrees = (value, positive, negative) => `${Math.abs(value).toFixed(2)}° ${value < 0 ? negative : positive}`;

// The best score of each species, those apart that are not expected at the location.
function summarize(detections) {
  const best = new Map();
  for (const { common_name: name, score, in_range: isExpected } of detections) {
    const known = best.get(name);
    if (!known || known.score < score) best.set(name, { name, score, isUnexpected: isExpected === false });
  }
  const species = [...best.values()].sort((one, other) => other.score - one.score);
  const { latitude, longitude, week } = detections[0] || {};
  const locationText = latitude == null ? "" : `${degrees(latitude, "N", "S")}, ${degrees(longitude, "E", "W")}, ${week ? `week ${week}` : "all year"}`;
  return { expected: species.filter(each => !each.isUnexpected), unexpected: species.filter(each => each.isUnexpected), locationText };
}

// ---------------------------------------------------------------- what is shown

function draw() {
  if (!drawing) drawing = setTimeout(() => { drawing = 0; drawSums(); drawRows(); }, DRAW_MS);
}

function drawSums() {
  const [nFailed, nSent, nAnalyzing, nDone] = STATES.map(count), nFinished = nFailed + nDone, n = uploads.length;
  const left = n - nFinished, sinceStart = nFinished - nFinishedAtStart;
  const minutes = sinceStart > 0 ? (performance.now() - startedAt) / sinceStart * left / 60_000 : 0;
  const numbers = [[nDone, "done"], [nSent, "being sent"], [nAnalyzing, "being analyzed"], [nFailed, "failed"], [left - nSent - nAnalyzing, label("waiting")]];
  part("sums").textContent = [
    `${show(n)} file${n === 1 ? "" : "s"}: ${numbers.filter(([k, state]) => k || state === "done").map(([k, state]) => `${show(k)} ${state}`).join(", ")}`,
    nSkipped ? `${show(nSkipped)} other file${nSkipped === 1 ? "" : "s"} skipped` : "",
    isStarted && left && minutes ? `about ${minutes < 1 ? "1" : show(Math.round(minutes))} min left` : "",
  ].filter(Boolean).join(" · ");
  part("finished").value = n ? nFinished / n : 0;
  part("pause").hidden = !left || !isStarted;
  part("pause").textContent = isPaused ? "Continue" : "Pause";
  part("retry-failed").hidden = !uploads.some(mayRetry);
  part("retry-failed").textContent = `Retry failed (${show(nFailed)})`;
}

// Failed ones first, then those under way, each in the order of the names; of more than 200, the rest on request.
function drawRows() {
  const focused = document.activeElement, groups = Object.fromEntries(STATES.map(state => [state, []]));
  for (const upload of uploads) groups[upload.state].push(upload);
  const states = part("only-failed").checked ? ["failed"] : STATES;
  const listed = states.flatMap(state => groups[state]), shown = listed.slice(0, nShown);
  const elements = shown.map(drawRow);
  if (elements.length !== rows.children.length || elements.some((element, k) => rows.children[k] !== element)) rows.replaceChildren(...elements);
  if (focused !== document.activeElement && focused.isConnected) focused.focus();
  const nHidden = listed.length - shown.length;
  part("not-shown").textContent = nHidden ? `${show(nHidden)} more files are not shown.` : "";
  part("show-more").hidden = !nHidden;
}

const label = state => state === "waiting" && isPaused ? "paused" : state;

function drawRow(upload) {
  const key = `${label(upload.state)} ${upload.text} ${upload.job ?? ""}`;
  if (!upload.row) { upload.row = document.createElement("li"); upload.row.dataset.key = ""; }
  if (upload.row.dataset.key !== key) { upload.row.dataset.key = key; upload.row.replaceChildren(...fillRow(upload)); }
  const bar = upload.row.querySelector("progress");
  if (bar) { if (upload.state === "sending" && upload.share === 1) bar.removeAttribute("value"); else bar.value = upload.share; }
  return upload.row;
}

function fillRow(upload) {
  const name = make("bdi", upload.name, "name"), cells = [make("strong", label(upload.state)), name];
  if (upload.folder) cells.push(make("bdi", upload.folder, "faint"));
  if (upload.state === "sending" || upload.state === "analyzing") {
    const bar = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
    bar.setAttribute("aria-label", `Progress of ${upload.name}`);
    cells.push(bar);
  }
  if (upload.text) cells.push(make("span", upload.text));
  if (upload.species) cells.push(...speciesCells(upload.species));
  if (upload.warnings.length) cells.push(make("span", upload.warnings.join("; ")));
  if (upload.job) {
    const link = make("a", "Job"); link.href = at(`/jobs/${upload.job}`); link.setAttribute("aria-label", `Job of ${upload.name}`);
    cells.push(link);
  }
  if (upload.state === "done") {
    const link = make("a", "Open"); link.href = at(`/recordings/${upload.recording}`); link.setAttribute("aria-label", `Open ${upload.name}`);
    cells.push(link);
  }
  if (mayRetry(upload)) cells.push(makeButton("Retry", upload, () => retry([upload])));
  if (["failed", "waiting"].includes(upload.state)) cells.push(makeButton("Remove", upload, () => remove(upload)));
  return cells;
}

function speciesCells({ expected, unexpected, locationText }) {
  const list = species => species.map(each => `${each.name} ${each.score.toFixed(2)}`).join(", ");
  const none = unexpected.length ? "only unexpected species" : "no detections";
  const cells = [make("span", expected.length ? `${expected.length} species: ${list(expected.slice(0, 5))}${expected.length > 5 ? ", …" : ""}` : none)];
  if (unexpected.length) {
    const folded = document.createElement("details");
    folded.append(make("summary", `Unexpected here (${unexpected.length})`), list(unexpected));
    cells.push(folded);
  }
  if (locationText) cells.push(make("small", locationText, "faint"));
  return cells;
}

function make(tag, text, className = "") {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

function makeButton(text, upload, act) {
  const button = Object.assign(make("button", text, "quiet"), { type: "button" });
  button.setAttribute("aria-label", `${text} ${upload.name}`);
  button.addEventListener("click", () => { act(); rows.focus(); });
  return button;
}

function retry(failed) {
  for (const upload of failed) { Object.assign(upload, { state: "waiting", text: "", attempts: 0 }); waiting.push(upload); }
  status.textContent = "";
  start(); draw();
}

// ---------------------------------------------------------------- the form

recall(); checkLocation();
input.multiple = true;
form.querySelector("[data-folder]").hidden = !("webkitdirectory" in folder);
input.addEventListener("change", () => { addAll([...input.files], false); input.value = ""; });
folder.addEventListener("change", () => { addAll([...folder.files], true); folder.value = ""; });
form.addEventListener("input", checkLocation);
form.addEventListener("submit", event => {
  event.preventDefault();
  isPaused = false;
  const failed = uploads.filter(mayRetry);
  if (failed.length && !uploads.some(isActive)) { retry(failed); return; } // as with another location
  status.textContent = uploads.length && !uploads.some(isActive) ? "All files are done. Choose others." : "";
  start(); draw();
});

const over = isOver => event => { event.preventDefault(); form.classList.toggle("over", isOver); };
form.addEventListener("dragover", over(true));
form.addEventListener("dragleave", over(false));
form.addEventListener("drop", event => {
  over(false)(event);
  const entries = [...event.dataTransfer.items].map(each => each.webkitGetAsEntry()).filter(Boolean); // only during the event
  if (entries.length) addDropped(entries);
  else addAll([...event.dataTransfer.files], false);
});

part("pause").addEventListener("click", () => { isPaused = !isPaused; draw(); pump(); });
part("retry-failed").addEventListener("click", () => retry(uploads.filter(mayRetry)));
part("only-failed").addEventListener("change", draw);
part("show-more").addEventListener("click", () => { nShown += N_ROWS; draw(); });
window.addEventListener("beforeunload", event => { if (isStarted && uploads.some(upload => isActive(upload) && !upload.job)) event.preventDefault(); });

// ---------------------------------------------------------------- the microphone

// The time of this machine with its zone, as the server reads it from names: 2026-05-12T04-00-00+0200.
function localTime(now) {
  const minutes = -now.getTimezoneOffset(), two = number => String(number).padStart(2, "0");
  const clock = new Date(now.getTime() + 60_000 * minutes).toISOString().slice(0, 19).replaceAll(":", "-");
  return `${clock}${minutes < 0 ? "-" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}${two(Math.abs(minutes) % 60)}`;
}

const microphone = form.querySelector("[data-microphone]");
let recorder = null;
microphone.hidden = !navigator.mediaDevices || !window.MediaRecorder;
microphone.addEventListener("click", async () => {
  if (recorder) { recorder.stop(); return; }
  try {
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const chunks = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = event => chunks.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach(track => track.stop());
      const suffix = recorder.mimeType.includes("mp4") ? "m4a" : recorder.mimeType.includes("ogg") ? "ogg" : "webm";
      const name = `microphone ${localTime(new Date())}.${suffix}`;
      const file = new File(chunks, name, { type: recorder.mimeType });
      recorder = null; microphone.textContent = "Record from the microphone"; status.textContent = "";
      add([{ file, directory: "", path: name }], ++nChoices); start(); status.textContent = "Analyzing…";
    };
    recorder.start();
    microphone.textContent = "Stop and identify"; status.textContent = "Recording…";
  } catch (error) { status.textContent = `The microphone cannot be used (${error.message}).`; }
});
