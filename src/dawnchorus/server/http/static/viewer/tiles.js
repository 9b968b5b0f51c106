// Tiles of the spectrogram: a bounded number is kept, those out of view are not waited for.
export const TILE_COLUMNS = 512, TILE_BINS = 256, COLUMNS_PER_S = 93.75;
const MAX_LOADED = 64, MAX_PENDING = 4, RETRY_S = 3, PATIENCE_MS = 500;

export const tileLength = level => TILE_COLUMNS * 2 ** level / COLUMNS_PER_S;

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
});

// Events: "load" with each tile, "state" when `problem` or `progress` has changed.
export class Tiles extends EventTarget {
  #url; #loaded = new Map(); #pending = new Map(); #failed = new Map(); #connection = ""; #wanted = []; #timer = 0;
  #reader = Object.assign(document.createElement("canvas"), { width: TILE_COLUMNS, height: TILE_BINS }).getContext("2d", { willReadFrequently: true });
  problem = "";
  progress = "";

  constructor(url) { super(); this.#url = url; }

  // Requests the tiles with these names ("top/level/index") in their order, and gives up all others.
  want(names) {
    this.#wanted = names;
    for (const [name, abort] of this.#pending) if (!names.includes(name)) abort.abort();
    this.#start();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#report(), PATIENCE_MS);
  }

  get(name) {
    const tile = this.#loaded.get(name);
    if (tile) { this.#loaded.delete(name); this.#loaded.set(name, tile); } // the latest used
    return tile;
  }

  #start() {
    for (const name of this.#wanted) {
      if (this.#pending.size >= MAX_PENDING) return;
      if (this.#loaded.has(name) || this.#pending.has(name) || this.#failed.has(name)) continue;
      const abort = new AbortController();
      this.#pending.set(name, abort);
      this.#load(name, abort.signal).catch(error => { if (!abort.signal.aborted) { this.#failed.set(name, error.message); this.#report(); } }).finally(() => {
        this.#pending.delete(name);
        this.#start();
      });
    }
  }

  async #load(name, signal) {
    const reply = await this.#fetch(name, signal);
    const image = await createImageBitmap(await reply.blob());
    if (signal.aborted) return;
    this.#reader.drawImage(image, 0, 0);
    image.close();
    const { data } = this.#reader.getImageData(0, 0, TILE_COLUMNS, TILE_BINS), gray = new Uint8Array(TILE_COLUMNS * TILE_BINS);
    for (let k = 0; k < gray.length; k++) gray[k] = data[4 * k];
    this.#loaded.set(name, { gray, canvas: null, table: null });
    for (const oldest of this.#loaded.keys()) if (this.#loaded.size > MAX_LOADED) this.#loaded.delete(oldest); else break;
    this.#report();
    this.dispatchEvent(new Event("load"));
  }

  // Waits while the server is busy or cannot be reached.
  async #fetch(name, signal) {
    for (;;) {
      let wait = RETRY_S;
      try {
        const reply = await fetch(`${this.#url}/${name}`, { signal });
        this.#connection = "";
        if (reply.ok) return reply;
        if (![502, 503, 504].includes(reply.status)) {
          const { detail } = await reply.json().catch(() => ({}));
          throw Object.assign(new Error(`No spectrogram: ${detail || reply.status}`), { isFinal: true });
        }
        wait = Number(reply.headers.get("Retry-After")) || RETRY_S;
        this.#report();
      } catch (error) {
        if (signal.aborted || error.isFinal) throw error;
        this.#connection = "Cannot reach the server: this page may be out of date.";
        this.#report();
      }
      await pause(wait, signal);
    }
  }

  #report() {
    const problem = this.#wanted.map(name => this.#failed.get(name)).find(Boolean) ?? this.#connection;
    const n = this.#wanted.filter(name => this.#loaded.has(name)).length;
    const progress = n < this.#wanted.length && !problem ? `computing the spectrogram: ${n} of ${this.#wanted.length} parts` : "";
    if (problem === this.problem && progress === this.progress) return;
    Object.assign(this, { problem, progress });
    this.dispatchEvent(new Event("state"));
  }
}

// Returns a canvas with the tile in the colors of the table.
export function paint(tile, table) {
  if (tile.table === table) return tile.canvas;
  tile.canvas ??= Object.assign(document.createElement("canvas"), { width: TILE_COLUMNS, height: TILE_BINS });
  const image = new ImageData(TILE_COLUMNS, TILE_BINS), colors = new Uint32Array(table.buffer), pixels = new Uint32Array(image.data.buffer);
  for (let k = 0; k < pixels.length; k++) pixels[k] = colors[tile.gray[k]];
  tile.canvas.getContext("2d").putImageData(image, 0, 0);
  tile.table = table;
  return tile.canvas;
}
