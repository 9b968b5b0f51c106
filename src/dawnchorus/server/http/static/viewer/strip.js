// The whole recording in a strip: a line for each species, and a frame around what is in view, which is a slider.
import { scoreColors } from "./tracks.js";

const LINE = 5;

export class Strip {
  #canvas; #frame; #view; #activity = null;

  constructor(box, view) {
    this.#canvas = box.querySelector("[data-strip] canvas");
    this.#frame = box.querySelector("[data-strip] [role=slider]");
    this.#view = view;
    const move = event => {
      const { left, width } = this.#canvas.getBoundingClientRect();
      view.centerOn(view.duration * (event.clientX - left) / width);
    };
    const strip = this.#canvas.parentElement;
    strip.addEventListener("pointerdown", event => { strip.setPointerCapture(event.pointerId); move(event); this.#frame.focus({ preventScroll: true }); });
    strip.addEventListener("pointermove", event => { if (strip.hasPointerCapture(event.pointerId)) move(event); });
    view.addEventListener("change", () => this.#place());
  }

  show(activity) { this.#activity = activity; this.draw(); }

  draw() {
    if (!this.#activity) return;
    const { species, columns } = this.#activity, ratio = devicePixelRatio, width = this.#canvas.clientWidth;
    const height = Math.max(LINE * species.length, 3 * LINE), color = scoreColors();
    this.#canvas.style.height = `${height}px`;
    Object.assign(this.#canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    species.forEach((each, k) => {
      for (const [column, , best] of each.columns) {
        context.fillStyle = color(best);
        const left = Math.floor(column * width / columns); // whole pixels, so that columns of one detection touch
        context.fillRect(left, k * LINE, Math.max(Math.ceil((column + 1) * width / columns) - left, 1), LINE - 1);
      }
    });
    this.#place();
  }

  #place() {
    const { start, end, length, duration } = this.#view;
    this.#frame.style.left = `${100 * start / duration}%`;
    this.#frame.style.width = `${100 * length / duration}%`;
    this.#frame.setAttribute("aria-valuenow", start.toFixed(1));
    this.#frame.setAttribute("aria-valuetext", `${this.#view.label(start)} to ${this.#view.label(end)}`);
  }
}
