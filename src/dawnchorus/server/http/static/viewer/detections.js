// The detections in view, the selected one, and its neighbors: from the server by range, never all.
import { request } from "../page.js";

const LIMIT = 500, COLUMN_PIXELS = 3, SETTLE_MS = 150;

// Events: "load" with the detections in view, "select" when another one is selected, "problem" with a sentence.
export class Detections extends EventTarget {
  #path; #view; #filter; #range = null; #timer = 0; #latest = 0; #searches = Promise.resolve();
  rows = []; // in view and around it
  activity = null; // in place of rows where there are too many
  selected = null;

  constructor(path, view, filter) {
    super();
    this.#path = path; this.#view = view; this.#filter = filter;
    view.addEventListener("change", () => { clearTimeout(this.#timer); this.#timer = setTimeout(() => this.#load().catch(error => this.#report(error)), SETTLE_MS); });
  }

  select(detection) {
    this.selected = detection;
    this.dispatchEvent(new Event("select"));
  }

  selectNeighbor(step) { return this.#enqueue(() => this.#neighbor(step)); }
  selectById(id, time) { return this.#enqueue(() => this.#find(id, time)); }

  // One search after the other, so that each of several quick keys goes one step further.
  #enqueue(search) {
    this.#searches = this.#searches.then(search).then(detection => { if (detection) this.select(detection); }).catch(error => this.#report(error));
    return this.#searches;
  }

  // Returns the next detection (step 1) or the previous one (-1): of the selected one if it is in view, otherwise of the view.
  async #neighbor(step) {
    const from = this.selected;
    const isInView = from && from.start_s < this.#view.end && from.end_s > this.#view.start;
    if (isInView) return this.#first({ [step > 0 ? "after" : "before"]: from.id });
    const next = await this.#first({ start_s: this.#view.start });
    if (step > 0 || !next) return next ?? from;
    return this.#first({ before: next.id });
  }

  async #find(id, time) {
    const { detections } = await this.#fetch("timeline", { start_s: Math.max(time - 1, 0), end_s: time + 1, limit: LIMIT });
    return detections.find(each => each.id === id) ?? null;
  }

  async countAll(columns) {
    try { return await this.#fetch("activity", { columns }); } catch (error) { this.#report(error); return null; }
  }

  #report(error) { this.dispatchEvent(new CustomEvent("problem", { detail: error.message })); }

  async #first(query) { return (await this.#fetch("timeline", { ...query, limit: 1 })).detections[0] ?? null; }

  async #fetch(resource, query) {
    const parameters = new URLSearchParams({ ...this.#filter, ...query });
    return request("GET", `${this.#path}/${resource}?${parameters}`);
  }

  async #load() {
    const { start, end, length, duration } = this.#view;
    if (this.#range && this.#range[0] <= start && this.#range[1] >= end) return;
    const number = ++this.#latest, range = [Math.max(start - length / 2, 0), Math.min(end + length / 2, duration)];
    const page = await this.#fetch("timeline", { start_s: range[0], end_s: range[1], limit: LIMIT });
    const columns = Math.round(document.documentElement.clientWidth / COLUMN_PIXELS);
    const activity = page.has_more ? await this.#fetch("activity", { start_s: start, end_s: end, columns }) : null;
    if (number !== this.#latest) return; // a later view was faster
    this.rows = activity ? [] : page.detections;
    this.activity = activity;
    this.#range = activity ? [start, end] : range;
    this.dispatchEvent(new Event("load"));
  }
}
