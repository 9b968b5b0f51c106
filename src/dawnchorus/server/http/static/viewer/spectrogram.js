// The spectrogram in view, with its axes.
import { colorTable, findLevels } from "./colors.js";
import { COLUMNS_PER_S, TILE_BINS, TILE_COLUMNS, Tiles, paint, tileLength } from "./tiles.js";

const TOPS_KHZ = [12, 24, 48, 96, 192], MAX_FALLBACK = 6;
const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];
const STEPS_KHZ = [1, 2, 4, 8, 16, 32];

export class Spectrogram {
  #canvas; #view; #tiles; #levels = null; #table = null; #direction = 1; #lastStart = 0;

  constructor(box, view, url, settings) {
    this.#canvas = box.querySelector("[data-picture]");
    this.frequencies = box.querySelector("[data-frequencies]");
    this.times = box.querySelector("[data-times]");
    this.#view = view;
    this.settings = settings;
    this.#tiles = new Tiles(url);
    this.#tiles.addEventListener("load", () => this.draw());
    this.#tiles.addEventListener("state", () => {
      box.querySelector("[data-problem]").textContent = this.#tiles.problem;
      box.querySelector("[data-progress]").textContent = this.#tiles.progress;
    });
    view.addEventListener("change", () => this.draw());
  }

  recolor() { this.#table = null; this.draw(); }

  // Finds the range of levels again, of what is in view.
  reset() { this.#levels = null; this.recolor(); }

  draw() {
    const { start, duration, length } = this.#view, ratio = devicePixelRatio;
    const width = Math.round(this.#canvas.clientWidth * ratio), height = Math.round(this.#canvas.clientHeight * ratio);
    if (!width) return;
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    if (start !== this.#lastStart) this.#direction = Math.sign(start - this.#lastStart);
    this.#lastStart = start;
    const coarsest = Math.max(Math.ceil(Math.log2(duration * COLUMNS_PER_S / TILE_COLUMNS)), 0);
    const level = Math.min(Math.max(Math.round(Math.log2(COLUMNS_PER_S * length / width)), 0), coarsest);
    const top = TOPS_KHZ.find(khz => khz >= this.settings.top) ?? TOPS_KHZ.at(-1);
    const last = Math.floor((duration - 1e-6) / tileLength(level));
    const first = Math.floor(start / tileLength(level)), end = Math.min(Math.floor(this.#view.end / tileLength(level)), last);
    const indices = Array.from({ length: end - first + 1 }, (_, k) => first + k);
    const ahead = (this.#direction > 0 ? [end + 1, end + 2] : [first - 1, first - 2]).filter(index => index >= 0 && index <= last);
    this.#tiles.want([...indices, ...ahead].map(index => `${top}/${level}/${index}`));
    this.#fill(indices, level, coarsest, top, width, height);
    this.#label();
  }

  #fill(indices, level, coarsest, top, width, height) {
    const context = this.#canvas.getContext("2d");
    const loaded = indices.map(index => this.#tiles.get(`${top}/${level}/${index}`));
    if (!this.#levels && loaded.every(Boolean)) { this.#levels = findLevels(loaded); this.#table = null; }
    this.#table ??= colorTable(this.settings.palette, this.#levels ?? { low: 60, high: 200 }, this.settings);
    context.fillStyle = `rgb(${this.#table.slice(0, 3).join(" ")})`;
    context.fillRect(0, 0, width, height);
    const shown = TILE_BINS * this.settings.top / top;
    indices.forEach((index, k) => {
      const seconds = tileLength(level), x = Math.round(width * this.#view.share(index * seconds));
      const right = Math.round(width * this.#view.share((index + 1) * seconds));
      const [tile, from, columns] = loaded[k] ? [loaded[k], 0, TILE_COLUMNS] : this.#coarser(index, level, coarsest, top);
      if (tile) context.drawImage(paint(tile, this.#table), from, TILE_BINS - shown, columns, shown, x, 0, right - x, height);
    });
  }

  // Returns a loaded tile of a coarser level, and the columns of it that show the same time.
  #coarser(index, level, coarsest, top) {
    for (let up = 1; up <= MAX_FALLBACK && level + up <= coarsest; up++) {
      const parts = 2 ** up, tile = this.#tiles.get(`${top}/${level + up}/${Math.floor(index / parts)}`);
      if (tile) return [tile, (index % parts) * TILE_COLUMNS / parts, TILE_COLUMNS / parts];
    }
    return [];
  }

  #label() {
    const { start, end, length, clockStart } = this.#view, offset = clockStart ?? 0;
    const step = STEPS_S.find(seconds => seconds >= length / (this.#canvas.clientWidth / 90)) ?? STEPS_S.at(-1);
    const ticks = [];
    for (let time = Math.ceil((start + offset) / step) * step - offset; time <= end; time += step) {
      ticks.push([this.#view.share(time), this.#view.label(time, step < 1 ? 1 : 0)]);
    }
    place(this.times, ticks, "left");
    const khz = STEPS_KHZ.find(each => each >= this.settings.top / 6) ?? STEPS_KHZ.at(-1);
    const levels = Array.from({ length: Math.floor(this.settings.top / khz) + 1 }, (_, k) => [k * khz / this.settings.top, k ? `${k * khz}` : "0 kHz"]);
    place(this.frequencies, levels, "bottom");
  }
}

// Puts labels at shares of a box; style properties that scripts set are not what the policy for contents refuses.
function place(box, labels, side) {
  box.replaceChildren(...labels.map(([share, text]) => {
    const label = document.createElement("span");
    label.textContent = text;
    label.style[side] = `${100 * share}%`;
    return label;
  }));
}
