// The page Review: one clip after the other, with the next ones loaded ahead, so that a key shows the next at once.
import { watchKeys } from "./keys.js";
import { at, request } from "./page.js";
import { answers, applyReview, focusSpecies, mayAnswer, modelName, relabel, setReview, showReview, undo, watchButtons } from "./review.js";
import { formatTime } from "./viewer/view.js";

const AHEAD = 10, BEHIND = 3, MAX_KEPT = 200, STORED = "review-autoplay", RETRY_MS = 2000;

// A detection with its spectrogram and audio, which exist while it is near the one that is shown.
class Clip {
  constructor(detection, image = null, audio = null) {
    Object.assign(this, { detection, image, audio, isBroken: false });
    image?.addEventListener("error", () => this.#check());
  }

  load() {
    if (this.image) return;
    const { spectrogram, audio } = this.detection, name = modelName(this.detection);
    this.image = Object.assign(new Image(440, 200), { alt: `Spectrogram of ${name}`, src: at(spectrogram) });
    this.audio = Object.assign(document.createElement("audio"), { controls: true, preload: "auto", src: at(audio) });
    this.audio.setAttribute("aria-label", name);
    this.image.addEventListener("error", () => this.#check());
    this.audio.addEventListener("error", () => this.#loadAgain(this.audio, at(audio)));
  }

  unload() {
    if (!this.image) return;
    this.audio.pause();
    for (const media of [this.image, this.audio]) media.removeAttribute("src");
    this.audio.load(); // releases what was loaded
    this.image = this.audio = null;
  }

  // Requests a spectrogram that failed to load again, unless its detection was deleted or cannot be decoded.
  async #check() {
    const { image } = this;
    if (!image?.getAttribute("src")) return;
    const reply = await fetch(at(this.detection.spectrogram)).catch(() => null);
    if (reply?.status === 404) removeDeleted(this);
    else if (reply?.status === 422) { this.isBroken = true; image.alt = "No spectrogram: the file cannot be decoded"; }
    else this.#loadAgain(image, at(this.detection.spectrogram));
  }

  // The server may have been busy.
  #loadAgain(media, url) {
    setTimeout(() => { if (media && !this.isBroken && [this.image, this.audio].includes(media)) media.src = url; }, RETRY_MS);
  }
}

const panel = document.querySelector("[data-queue]"); // null where there is nothing to review
const part = name => panel.querySelector(`[data-${name}]`);
const empty = document.querySelector("[data-empty]"), left = document.querySelector("[data-left]");
const clips = []; // in the order of the queue, without those that were skipped or answered long ago
let index = 0, after = "", isComplete = false, isWaiting = false, isLoading = false, isLooping = false;

const shown = () => clips[index];

// ---------------------------------------------------------------- the queue

// Loads what follows in the queue, until enough clips lie ahead.
async function loadMore() {
  if (isLoading || isComplete) return;
  isLoading = true;
  try {
    const { detections } = await request("GET", `/api/v1/reviews/queue?limit=${AHEAD}&after=${after}`);
    clips.push(...detections.filter(each => !find(each.id)).map(each => new Clip(each)));
    isComplete = detections.length < AHEAD;
    after = detections.at(-1)?.position ?? after;
  } catch (error) {
    part("status").textContent = error.message;
    setTimeout(loadMore, RETRY_MS);
    return;
  } finally { isLoading = false; }
  if (isWaiting) show(index); else prepare();
}

// Loads the clips ahead, and releases those behind.
function prepare() {
  const surplus = Math.min(clips.length - MAX_KEPT, index - BEHIND);
  if (surplus > 0) { clips.splice(0, surplus).forEach(clip => clip.unload()); index -= surplus; }
  clips.forEach((clip, k) => { if (k < index - BEHIND || k > index + AHEAD) clip.unload(); else clip.load(); });
  if (clips.length - index <= AHEAD) loadMore();
}

function show(k) {
  shown()?.audio?.pause();
  index = Math.min(Math.max(k, 0), clips.length);
  prepare();
  const clip = shown(), isFinished = !clip && isComplete;
  isWaiting = !clip;
  empty.hidden = !isFinished;
  panel.classList.toggle("finished", isFinished);
  if (!clip) return;
  const { detection } = clip;
  part("name").textContent = modelName(detection);
  part("scientific-name").textContent = detection.model_scientific_name ?? detection.scientific_name;
  part("picture").replaceChildren(clip.image);
  part("sound").replaceChildren(clip.audio);
  clip.audio.loop = isLooping;
  describeSource(detection);
  showReview(detection);
  history.replaceState(null, "", `?d=${detection.id}&after=${detection.position}`);
}

function describeSource(detection) {
  const { recording, recording_name: name, id, start_s: start, clock_time: time, channel, site } = detection, link = part("source");
  link.href = at(`/recordings/${recording}?d=${id}&t=${start.toFixed(3)}`);
  link.querySelector("bdi").textContent = name;
  link.lastChild.data = ` at ${formatTime(start)}`;
  const facts = [`score ${detection.score.toFixed(2)}`, channel && `channel ${channel}`, time && new Date(time.slice(0, 19)).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }), site]; // as the recorder's clock has it
  part("unexpected").hidden = detection.in_range !== false;
  part("about").textContent = ` · ${facts.filter(Boolean).join(" · ")}`;
}

// Shows the clip at a distance, and plays it: keys and clicks have allowed the page to.
function move(step) {
  show(index + step);
  if (shown() && autoplay.checked) play();
}

function removeDeleted(clip) {
  const k = clips.indexOf(clip);
  if (k < 0) return;
  clips.splice(k, 1);
  clip.unload();
  if (k < index) index -= 1;
  else if (k === index) {
    show(index);
    part("status").textContent = `${modelName(clip.detection)} was deleted while it was shown. This is the next clip.`;
  }
}

const find = id => clips.find(clip => clip.detection.id === id);

function count(step) {
  if (left.dataset.left === "") return; // more than are counted
  left.dataset.left = Number(left.dataset.left) + step;
  left.textContent = Number(left.dataset.left).toLocaleString("en");
}

function note(id, review) {
  const clip = find(id);
  if (!clip) return;
  if (Boolean(clip.detection.review) !== Boolean(review)) count(review ? -1 : 1);
  applyReview(clip.detection, review);
}

// ---------------------------------------------------------------- actions

function play() { shown()?.audio.play().catch(() => {}); } // it is refused before the first key or click

const actions = {
  play: () => { const audio = shown()?.audio; if (audio?.paused) play(); else audio?.pause(); },
  loop: () => { isLooping = !isLooping; if (shown()) { shown().audio.loop = isLooping; if (isLooping) play(); } },
  open: () => { location.href = part("source").href; },
  next: () => move(1),
  previous: () => move(-1),
  help: () => { part("help").open = !part("help").open; },
};

function answer(verdict) {
  if (!shown() || !mayAnswer) return;
  setReview({ verdict });
  move(1);
}

// Stays until the name is accepted.
async function answerSpecies() {
  const clip = shown();
  if (!clip || !(await relabel())) return;
  document.activeElement?.blur();
  if (shown() === clip) move(1);
}

function choose(verdict) {
  if (verdict === "skip") move(1);
  else if (verdict === null) setReview(null);
  else answer(verdict);
}

// ---------------------------------------------------------------- start

const autoplay = panel?.querySelector("[data-control=autoplay]");

function watchAnswers() {
  answers.addEventListener("reviewed", event => note(event.detail.id, event.detail.review));
  answers.addEventListener("gone", event => { const clip = find(event.detail.id); if (clip) removeDeleted(clip); });
  answers.addEventListener("undone", event => {
    const { id, review, detection } = event.detail;
    if (find(id)) note(id, review);
    else { clips.splice(index, 0, new Clip(detection)); count(review ? 0 : 1); }
    show(clips.indexOf(find(id)));
  });
}

function start() {
  for (const scripted of panel.querySelectorAll("[data-scripted]")) scripted.hidden = false;
  autoplay.checked = localStorage.getItem(STORED) !== "off";
  autoplay.addEventListener("change", () => localStorage.setItem(STORED, autoplay.checked ? "on" : "off"));
  const first = JSON.parse(panel.dataset.clip);
  const audio = panel.querySelector("audio");
  audio.preload = "auto";
  clips.push(new Clip(first, panel.querySelector("img"), audio));
  after = first.position;
  watchAnswers();
  watchButtons(choose, answerSpecies);
  panel.querySelector("[data-next]")?.addEventListener("click", event => { event.preventDefault(); move(1); });
  watchKeys(
    {
      y: () => answer("correct"), n: () => answer("incorrect"), u: () => answer("unsure"), b: () => answer("several"), 0: () => answer("none"),
      e: focusSpecies, j: actions.next, k: actions.previous, z: undo, "Ctrl+z": undo, " ": actions.play, l: actions.loop, o: actions.open,
      "?": actions.help,
    },
    panel.querySelector("[data-control=keys]"),
  );
  show(0);
}

if (panel) start();
