// Sound of the recording: the file itself where the browser can play it, otherwise short clips of it.
const CLIP_S = 20, MAX_NATIVE_HZ = 96000, EDGE_S = 0.02;

// Events: "time" while it plays, "state" at its start and end, "problem" with a sentence.
export class Player extends EventTarget {
  #audio; #url; #view; #offset = 0; #nodes = null; #isNative; #time = 0;
  loop = null; // [start, end]

  constructor(audio, url, view, rateHz) {
    super();
    this.#audio = audio; this.#url = url; this.#view = view;
    this.#isNative = rateHz <= MAX_NATIVE_HZ;
    audio.controls = false;
    audio.addEventListener("error", () => this.#fail());
    audio.addEventListener("ended", () => { if (!this.#isNative && this.time < view.duration - EDGE_S) this.play(this.time); else this.#changed(); });
    for (const name of ["play", "pause"]) audio.addEventListener(name, () => this.#changed());
    audio.addEventListener("play", () => this.#follow());
  }

  get isPlaying() { return !this.#audio.paused; }
  get time() { return this.#audio.paused && !this.#audio.ended ? this.#time : this.#offset + this.#audio.currentTime; }

  seek(time) {
    this.#time = Math.min(Math.max(time, 0), this.#view.duration);
    if (this.isPlaying) this.play(this.#time);
    this.dispatchEvent(new Event("time"));
  }

  async play(time = this.time) {
    this.#time = time >= this.#view.duration - EDGE_S ? 0 : time;
    this.#nodes?.context.resume();
    try {
      if (this.#isNative) this.#audio.currentTime = this.#time;
      else this.#openClip(this.#time);
      await this.#audio.play();
    } catch (error) {
      if (error.name !== "AbortError" && error.name !== "NotSupportedError") this.#report(error.message); // the event "error" has the others
    }
  }

  pause() { this.#time = this.time; this.#audio.pause(); }

  set speed(rate) { this.#audio.defaultPlaybackRate = this.#audio.playbackRate = rate; }
  set keepsPitch(keeps) { this.#audio.preservesPitch = keeps; }

  // Amplifies and filters what is played; the file stays as it is.
  setSound({ gainDb, highPassHz }) {
    if (!this.#nodes && !gainDb && !highPassHz) return;
    if (!this.#nodes) {
      const context = new AudioContext(), filter = new BiquadFilterNode(context, { type: "highpass" }), gain = new GainNode(context);
      context.createMediaElementSource(this.#audio).connect(filter).connect(gain).connect(context.destination);
      this.#nodes = { context, filter, gain };
    }
    this.#nodes.filter.frequency.value = highPassHz || 1;
    this.#nodes.gain.gain.value = 10 ** (gainDb / 20);
  }

  #openClip(start) {
    this.#offset = start;
    this.#audio.src = `${this.#url}/clip?start_s=${start.toFixed(3)}&end_s=${Math.min(start + CLIP_S, this.#view.duration).toFixed(3)}`;
  }

  #follow() {
    if (!this.isPlaying) return;
    this.#time = this.time;
    if (this.loop && (this.#time >= this.loop[1] || this.#time < this.loop[0] - 0.3)) this.play(this.loop[0]);
    this.dispatchEvent(new Event("time"));
    requestAnimationFrame(() => this.#follow());
  }

  // The file is tried once; its clips are what the server can decode.
  #fail() {
    if (this.#isNative) { this.#isNative = false; this.play(this.#time); return; }
    this.#report("This part of the recording cannot be played.");
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event("state")); }
  #report(detail) { this.dispatchEvent(new CustomEvent("problem", { detail })); }
}
