// The part of the recording that is in view. Times are seconds from the start of the recording.
const MIN_S = 0.5;

const two = number => String(number).padStart(2, "0");

export function formatTime(seconds, digits = 0) {
  const unit = 10 ** digits, rounded = Math.round(seconds * unit) / unit;
  const whole = Math.floor(rounded), part = digits ? (rounded - whole).toFixed(digits).slice(1) : "";
  return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}${part}`;
}

export class View extends EventTarget {
  #frame = 0;

  constructor(duration, clockStart) {
    super();
    this.duration = duration;
    this.clockStart = clockStart; // seconds of the day, or null
    this.start = 0;
    this.length = duration;
  }

  get end() { return this.start + this.length; }
  get center() { return this.start + this.length / 2; }

  // Shows `length` seconds from `start` on, as far as the recording has them; "change" comes with the next frame.
  show(start, length = this.length) {
    this.length = Math.min(Math.max(length, MIN_S), this.duration);
    this.start = Math.min(Math.max(start, 0), this.duration - this.length);
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.dispatchEvent(new Event("change")); });
  }

  centerOn(time) { this.show(time - this.length / 2); }

  zoom(factor, at = this.center) {
    const length = Math.min(Math.max(this.length * factor, MIN_S), this.duration);
    this.show(at - (at - this.start) * length / this.length, length);
  }

  share(time) { return (time - this.start) / this.length; }
  timeAt(share) { return this.start + share * this.length; }
  contains(time) { return time >= this.start && time <= this.end; }

  // Time of the day where it is known, otherwise time in the recording.
  label(time, digits = 0) { return formatTime(this.clockStart === null ? time : (this.clockStart + time) % 86400, digits); }
}
