// The viewer of a recording: creates its parts, and keeps what is shown in the URL of the page.
import { watchKeys } from "../keys.js";
import { at } from "../page.js";
import { VERDICTS, answers, applyReview, focusSpecies, mayAnswer, modelName, relabel, setReview, showReview, undo, watchButtons } from "../review.js";
import { PALETTES } from "./colors.js";
import { focusSpecies as focusField } from "../species_picker.js";
import { Detections } from "./detections.js";
import { Spectrogram } from "./spectrogram.js";
import { Player } from "./player.js";
import { watchPointer } from "./pointer.js";
import { Strip } from "./strip.js";
import { Tracks } from "./tracks.js";
import { View, formatTime } from "./view.js";

const SPEEDS = ["1", "0.5", "0.25", "0.125"], LOOP_MARGIN_S = 0.5, SETTLE_MS = 300, STRIP_COLUMNS = 600, STORED = "viewer";

const box = document.querySelector("[data-viewer]"), { dataset } = box;
const part = name => box.querySelector(`[data-${name}]`);
const form = document.querySelector("[data-review]"); // null without detections, and for a role that may not answer
const path = `/api/v1/recordings/${dataset.viewer}`;
const number = name => (dataset[name] === "" ? null : Number(dataset[name]));
const filter = JSON.parse(dataset.filter);

const wholeKhz = number("rate") / 2000;
const isLight = matchMedia("(prefers-color-scheme: light)");
const settings = { palette: isLight.matches ? "Paper" : "Dawn", brightness: 0, contrast: 1, ...readStored(), top: Math.min(12, wholeKhz) };
const view = new View(number("duration"), number("clock"));
const spectrogram = new Spectrogram(box, view, at(`${path}/spectrogram`), settings);
const detections = new Detections(path, view, filter);
const tracks = new Tracks(box, view, detections, JSON.parse(dataset.species), linkToSpecies);
const strip = new Strip(box, view);
const player = new Player(part("audio"), at(path), view, number("rate"));
let span = null, timer = 0;

// ---------------------------------------------------------------- the URL of the page

function currentQuery() {
  const query = new URLSearchParams(location.search);
  query.set("t", view.center.toFixed(2));
  query.set("zoom", view.length.toFixed(2));
  if (detections.selected) query.set("d", detections.selected.id);
  return query;
}

function linkToSpecies(name) {
  const query = currentQuery();
  for (const old of ["species", "after", "before", "d"]) query.delete(old);
  query.set("species", name);
  return `?${query}`;
}

function updateUrl() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    history.replaceState(null, "", `?${currentQuery()}`);
    for (const link of document.querySelectorAll("a[data-keep]")) { // pages of the table keep what is shown
      const query = new URLSearchParams(link.search);
      for (const name of ["t", "zoom"]) query.set(name, currentQuery().get(name));
      link.search = query;
    }
    for (const name of ["t", "zoom"]) document.querySelector(`[data-filters] [name=${name}]`).value = currentQuery().get(name);
  }, SETTLE_MS);
}

function readStored() {
  try { return JSON.parse(localStorage.getItem(STORED)) ?? {}; } catch { return {}; }
}

// ---------------------------------------------------------------- what is shown

function drawLines() {
  const place = (line, time) => { line.hidden = !view.contains(time); line.style.left = `${100 * view.share(time)}%`; };
  place(part("line"), player.time);
  const frame = part("frame"), framed = detections.selected;
  frame.hidden = !framed || framed.start_s > view.end || framed.end_s < view.start;
  if (framed) { frame.style.left = `${100 * view.share(framed.start_s)}%`; frame.style.width = `${100 * (framed.end_s - framed.start_s) / view.length}%`; }
  const marked = part("span");
  marked.hidden = !span;
  if (span) { marked.style.left = `${100 * view.share(span[0])}%`; marked.style.width = `${100 * (span[1] - span[0]) / view.length}%`; }
}

function describeSpecies(detection) {
  return detection.model_common_name ? `${detection.common_name} (model: ${detection.model_common_name})` : detection.common_name;
}

function describe(detection) {
  const reviewed = detection.review ? VERDICTS[detection.review.verdict] : "unreviewed";
  const unexpected = detection.in_range === false && !detection.model_common_name ? ", unexpected here" : "";
  return `${describeSpecies(detection)}${unexpected}, ${view.label(detection.start_s)} to ${view.label(detection.end_s)}, score ${detection.score.toFixed(2)}, ${reviewed}`;
}

function showSelected() {
  const detection = detections.selected;
  part("selected").textContent = describe(detection);
  if (form) form.hidden = false;
  showReview(detection);
  drawLines();
  updateUrl();
}

function reveal() {
  const { start_s: start, end_s: end } = detections.selected;
  if (!view.contains(start) || !view.contains(end)) view.centerOn((start + end) / 2);
  setLoop(player.loop ? "selected" : null);
  player.seek(start);
}

function setLoop(kind) {
  const detection = detections.selected;
  if (kind === "span" && span) player.loop = span;
  else if (kind && detection) player.loop = [Math.max(detection.start_s - LOOP_MARGIN_S, 0), Math.min(detection.end_s + LOOP_MARGIN_S, view.duration)];
  else player.loop = null;
  part("loop").setAttribute("aria-pressed", String(Boolean(player.loop)));
}

// ---------------------------------------------------------------- actions

const controls = {};
for (const control of box.querySelectorAll("[data-control]")) controls[control.dataset.control] = control;

function set(control, value) { control.value = value; control.dispatchEvent(new Event("input")); }

function brighten(step) { set(controls.brightness, Number(controls.brightness.value) + step); }

function answer(verdict) { if (detections.selected && mayAnswer) setReview(verdict && { verdict }); }

const actions = {
  play: () => { if (player.isPlaying) player.pause(); else player.play(player.loop?.[0] ?? (view.contains(player.time) ? player.time : view.start)); },
  loop: () => { setLoop(player.loop ? null : span ? "span" : "selected"); if (player.loop) player.play(player.loop[0]); },
  previous: () => detections.selectNeighbor(-1),
  next: () => detections.selectNeighbor(1),
  in: () => view.zoom(0.5), out: () => view.zoom(2), whole: () => view.show(0, view.duration),
  left: () => view.show(view.start - view.length / 4), right: () => view.show(view.start + view.length / 4),
  leftView: () => view.show(view.start - view.length), rightView: () => view.show(view.start + view.length),
  start: () => view.show(0), end: () => view.show(view.duration),
  speed: () => set(controls.speed, SPEEDS[(SPEEDS.indexOf(controls.speed.value) + 1) % SPEEDS.length]),
  marks: () => { tracks.isShown = !tracks.isShown; tracks.draw(); },
  reset: () => { Object.assign(settings, { brightness: 0, contrast: 1 }); controls.brightness.value = 0; controls.contrast.value = 1; spectrogram.reset(); store(); },
};

const keys = {
  " ": "play", l: "loop", s: "speed", m: "marks", j: "next", k: "previous", "+": "in", "=": "in", "Shift++": "in", "-": "out", f: "whole",
  ArrowLeft: "left", ArrowRight: "right", "Shift+ArrowLeft": "leftView", "Shift+ArrowRight": "rightView", Home: "start", End: "end",
};

function store() {
  const { palette, brightness, contrast } = settings;
  localStorage.setItem(STORED, JSON.stringify({ palette, brightness, contrast }));
}

function setUpControls() {
  for (const button of box.querySelectorAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
  controls.palette.append(...PALETTES.map(name => new Option(name)));
  const tops = [12, 24, 48, 96, 192].filter(khz => khz < wholeKhz);
  controls.top.append(...[...tops, wholeKhz].map(khz => new Option(`${+khz.toFixed(2)} kHz`, khz)));
  for (const name of ["palette", "brightness", "contrast", "top"]) {
    controls[name].value = settings[name];
    controls[name].addEventListener("input", () => {
      settings[name] = name === "palette" ? controls[name].value : Number(controls[name].value);
      if (name !== "top") store();
      spectrogram.recolor();
    });
  }
  const sound = () => player.setSound({ gainDb: Number(controls.gain.value), highPassHz: Number(controls.highpass.value) });
  controls.gain.addEventListener("input", sound);
  controls.highpass.addEventListener("input", sound);
  controls.speed.addEventListener("input", () => { player.speed = Number(controls.speed.value); });
  player.keepsPitch = false;
  controls.pitch.addEventListener("input", () => { player.keepsPitch = controls.pitch.checked; });
}

// ---------------------------------------------------------------- start

function setUpEvents() {
  view.addEventListener("change", () => { drawLines(); updateUrl(); });
  detections.addEventListener("select", showSelected);
  player.addEventListener("time", () => {
    if (player.isPlaying && player.time > view.end && !player.loop) view.show(player.time); // by page
    drawLines();
  });
  player.addEventListener("state", () => { part("play").textContent = player.isPlaying ? "Pause" : "Play"; });
  for (const source of [player, detections]) source.addEventListener("problem", event => { part("problem").textContent = event.detail; });
  watchPointer(part("stage"), view, {
    onClick: time => { span = null; setLoop(null); player.seek(time); drawLines(); },
    onSpan: marked => { span = marked; setLoop(player.loop ? "span" : null); drawLines(); },
    onHover: (time, height) => { part("pointer").textContent = time === null ? "" : `${view.label(time, 1)} (${time.toFixed(1)} s), ${(height * settings.top).toFixed(1)} kHz`; },
  });
  const named = Object.fromEntries(Object.entries(keys).map(([key, name]) => [key, actions[name]]));
  watchKeys({
    ...named, y: () => answer("correct"), n: () => answer("incorrect"), u: () => answer("unsure"), b: () => answer("several"), 0: () => answer("none"),
    e: focusSpecies, z: takeBack, "Ctrl+z": takeBack,
    "?": () => { part("help").open = !part("help").open; }, "/": () => { document.querySelector("[data-filters]").open = true; focusField(document.querySelector("[data-filters] [name=species]")); }, "[": () => brighten(-0.1), "]": () => brighten(0.1),
  }, controls.keys);
  if (form) watchReviews();
  document.addEventListener("click", event => {
    const link = event.target.closest("a[data-detection]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    detections.selectById(Number(link.dataset.detection), Number(link.dataset.t));
    box.scrollIntoView({ block: "start" });
  });
  const redraw = () => { spectrogram.draw(); tracks.draw(); strip.draw(); drawLines(); };
  window.addEventListener("resize", redraw);
  isLight.addEventListener("change", redraw);
}

function takeBack() { if (form) undo(); }

function watchReviews() {
  watchButtons(answer, relabel);
  answers.addEventListener("reviewed", event => note(event.detail.id, event.detail.review));
  answers.addEventListener("undone", event => {
    const { id, review, detection } = event.detail;
    if (detection && detection.recording !== dataset.viewer) location.href = at(`/recordings/${detection.recording}?d=${id}`);
    else { note(id, review); if (detection) detections.selectById(id, detection.start_s); }
  });
}

// Shows the review of a detection in the table, the tracks and beside the form.
function note(id, review) {
  const rows = [detections.selected, ...detections.rows].filter(each => each?.id === id);
  for (const each of new Set(rows)) applyReview(each, review);
  const cell = document.querySelector(`a[data-detection="${id}"]`)?.closest("tr");
  if (cell && rows.length) showInTable(cell, rows[0]);
  if (detections.selected) part("selected").textContent = describe(detections.selected);
  tracks.draw();
}

function showInTable(row, detection) {
  row.querySelector("[data-reviewed]").textContent = VERDICTS[detection.review?.verdict] ?? "";
  const species = row.querySelector("[data-species]"), scientific = document.createElement("i");
  scientific.lang = "la";
  scientific.textContent = detection.scientific_name;
  species.replaceChildren(`${detection.common_name} `, scientific);
  row.querySelector("[data-model-species]")?.remove();
  if (!detection.model_common_name) return;
  const model = Object.assign(document.createElement("span"), { className: "faint", textContent: ` (model: ${modelName(detection)})` });
  model.dataset.modelSpecies = "";
  species.after(model);
}

async function start() {
  if (!view.duration) return;
  for (const scripted of box.querySelectorAll("[data-scripted]")) scripted.hidden = false;
  if (form) form.hidden = !number("d");
  setUpControls();
  setUpEvents();
  if (innerWidth < 640) part("settings").open = false;
  view.show(number("t") - number("zoom") / 2, number("zoom"));
  player.seek(number("d") && view.contains(number("dstart")) ? number("dstart") : view.start);
  if (number("d")) await detections.selectById(number("d"), number("dstart"));
  detections.addEventListener("select", reveal); // not for the URL, whose view stays
  const activity = await detections.countAll(STRIP_COLUMNS);
  if (activity) strip.show(activity);
}

part("length").textContent = formatTime(view.duration);
start();
