// One track for each species in view, below the spectrogram; blocks are as high as their scores, and answers are signs.
const SIGNS = { correct: "✓", incorrect: "✗", relabeled: "✓", several: "+", unsure: "?", none: "✗" }, MAX_TRACKS = 8, MIN_BLOCK = 3, SIGN_WIDTH = 14;

export const scoreColors = () => {
  const style = getComputedStyle(document.documentElement);
  const colors = [1, 2, 3, 4].map(k => style.getPropertyValue(`--score-${k}`));
  return score => colors[Math.min(Math.floor(score * 4), 3)];
};

export class Tracks {
  #canvas; #names; #more; #view; #detections; #isWhole = false; #species = []; #order;
  isShown = true;

  constructor(box, view, detections, order, linkTo) {
    this.#canvas = box.querySelector("[data-tracks]");
    this.#names = box.querySelector("[data-track-names]");
    this.#more = box.querySelector("[data-more]");
    this.#view = view; this.#detections = detections; this.linkTo = linkTo;
    this.#order = new Map(order.map((name, k) => [name, k]));
    this.#more.addEventListener("click", () => { this.#isWhole = true; this.draw(); });
    this.#canvas.addEventListener("click", event => this.#choose(event));
    detections.addEventListener("load", () => this.draw());
    detections.addEventListener("select", () => this.draw());
    view.addEventListener("change", () => this.draw());
    this.note = box.querySelector("[data-note]");
  }

  draw() {
    const { rows, activity } = this.#detections, style = getComputedStyle(this.#names);
    const height = parseFloat(style.getPropertyValue("--track")) || 18;
    const species = this.#sort(activity ? activity.species : this.#inView(rows));
    const shown = this.isShown ? (this.#isWhole ? species : species.slice(0, MAX_TRACKS)) : [];
    this.#more.hidden = !this.isShown || shown.length === species.length;
    this.#more.textContent = `${species.length - shown.length} more species`;
    this.note.textContent = activity ? `${activity.n_detections.toLocaleString()} detections in view: zoom in to see single detections` : "";
    this.#nameRows(shown);
    const ratio = devicePixelRatio, width = this.#canvas.clientWidth;
    this.#canvas.style.height = `${height * shown.length}px`;
    Object.assign(this.#canvas, { width: Math.round(width * ratio), height: Math.round(height * shown.length * ratio) });
    const context = this.#canvas.getContext("2d"), color = scoreColors();
    context.scale(ratio, ratio);
    context.font = `${height - 6}px system-ui`;
    shown.forEach((each, k) => (activity ? this.#drawColumns(context, each, k * height, height, width, color) : this.#drawBlocks(context, each.rows, k * height, height, width, color)));
  }

  #inView(rows) {
    const byName = new Map();
    for (const row of rows) {
      if (row.end_s < this.#view.start || row.start_s > this.#view.end) continue;
      if (!byName.has(row.scientific_name)) byName.set(row.scientific_name, { scientific_name: row.scientific_name, common_name: row.common_name, rows: [] });
      byName.get(row.scientific_name).rows.push(row);
    }
    return [...byName.values()];
  }

  // The most frequent in the recording first, so that tracks keep their order from view to view.
  #sort(species) {
    const position = each => this.#order.get(each.scientific_name) ?? Infinity;
    return species.toSorted((a, b) => position(a) - position(b));
  }

  #nameRows(shown) {
    const names = shown.map(each => each.common_name ?? "Other species");
    if (names.join() === this.#species.join()) return;
    this.#species = names;
    this.#names.replaceChildren(...shown.map(each => {
      const line = document.createElement("li"), link = document.createElement("a");
      link.textContent = each.common_name ?? "Other species";
      if (each.scientific_name) {
        link.href = "?";
        link.title = `Show only ${each.common_name}`;
        link.addEventListener("click", () => { link.href = this.linkTo(each.scientific_name); }); // at the time that is in view then
      }
      line.append(link);
      return line;
    }));
  }

  #drawBlocks(context, rows, top, height, width, color) {
    for (const row of rows) {
      const left = width * this.#view.share(row.start_s), block = Math.max(width * (row.end_s - row.start_s) / this.#view.length - 1, MIN_BLOCK);
      const tall = 4 + (height - 6) * row.score;
      context.fillStyle = color(row.score);
      context.fillRect(left, top + height - 1 - tall, block, tall);
      if (row.id === this.#detections.selected?.id) { context.strokeStyle = getComputedStyle(this.#canvas).color; context.lineWidth = 2; context.strokeRect(left, top + 1, block, height - 2); }
      const sign = row.review && SIGNS[row.review.verdict];
      if (sign && block > SIGN_WIDTH) {
        context.fillStyle = getComputedStyle(this.#canvas).backgroundColor;
        context.fillRect(left + 1, top + 2, SIGN_WIDTH - 2, height - 3);
        context.fillStyle = getComputedStyle(this.#canvas).color;
        context.fillText(sign, left + 2, top + height - 5);
      }
    }
  }

  #drawColumns(context, species, top, height, width, color) {
    const { start_s: start, end_s: end, columns } = this.#detections.activity, seconds = (end - start) / columns;
    for (const [column, , best] of species.columns) {
      const left = width * this.#view.share(start + column * seconds), tall = 4 + (height - 6) * best;
      context.fillStyle = color(best);
      context.fillRect(left, top + height - 1 - tall, Math.max(width * seconds / this.#view.length, 1), tall);
    }
  }

  // Selects the block at the pointer, the shortest of several.
  #choose(event) {
    const time = this.#view.timeAt(event.offsetX / this.#canvas.clientWidth), margin = 4 * this.#view.length / this.#canvas.clientWidth;
    const name = this.#species[Math.floor(event.offsetY * this.#species.length / this.#canvas.clientHeight)];
    const hits = this.#detections.rows.filter(row => row.common_name === name && row.start_s - margin <= time && row.end_s + margin >= time);
    hits.sort((a, b) => (a.end_s - a.start_s) - (b.end_s - b.start_s));
    if (hits.length) this.#detections.select(hits[0]);
    else if (this.#detections.activity) this.#view.zoom(0.25, time);
  }
}
