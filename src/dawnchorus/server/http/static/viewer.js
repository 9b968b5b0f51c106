// A recording's spectrogram: pictures of the stretch in view come from the server; detections lie over them as buttons.
const COLOURS = ["#5cc8ff", "#ffd166", "#7ee0a3", "#ff8fa3", "#c7a6ff", "#ffa94d", "#63e6e2", "#e0f17a"];
const MIN_S = 0.5;

export function viewers(boxes, at) { for (const box of boxes) viewer(box, at); }

function viewer(box, at) {
  const duration = Number(box.dataset.duration), stage = box.querySelector(".stage"), image = stage.querySelector("img");
  const axis = box.querySelector(".axis"), audio = box.querySelector("audio"), status = box.querySelector("[data-status]");
  const line = document.createElement("div");
  let from = 0, to = duration, loop = null, timer = 0;
  if (!duration) return;
  box.querySelector(".buttons").hidden = false;
  line.className = "line"; line.hidden = true; stage.append(line);

  const rows = [...document.querySelectorAll("[data-span]")];
  const names = [...new Set(rows.map(row => row.dataset.name))];
  const marks = rows.map(row => {
    const [start, end, score] = row.dataset.span.split(",").map(Number), button = document.createElement("button");
    button.type = "button"; button.textContent = `${row.dataset.name} ${score.toFixed(2)}`;
    button.setAttribute("aria-label", `${button.textContent}, ${start.toFixed(1)} to ${end.toFixed(1)} s: play in a loop`);
    button.style.borderColor = COLOURS[names.indexOf(row.dataset.name) % COLOURS.length];
    button.addEventListener("click", () => { loop = loop && loop[0] === start && loop[1] === end ? null : [start, end]; audio.currentTime = start; show(); if (loop) audio.play(); else audio.pause(); });
    stage.append(button);
    return { start, end, button };
  });

  const share = time => (time - from) / (to - from);

  function show() {
    for (const { start, end, button } of marks) {
      button.hidden = end <= from || start >= to;
      const left = Math.max(share(start), 0);
      button.style.left = `${100 * left}%`; button.style.width = `${100 * (Math.min(share(end), 1) - left)}%`;
      button.classList.toggle("looped", Boolean(loop) && loop[0] === start && loop[1] === end);
    }
    box.querySelector("[data-do=loop]").setAttribute("aria-pressed", String(Boolean(loop)));
    status.textContent = `${from.toFixed(1)} to ${to.toFixed(1)} s of ${duration.toFixed(1)} s, 0 to 12 kHz`;
    ticks(); playhead();
    clearTimeout(timer);
    timer = setTimeout(() => {
      const width = Math.min(Math.max(Math.round(stage.clientWidth * devicePixelRatio), 300), 2400);
      image.src = at(`/api/v1/recordings/${box.dataset.viewer}/spectrogram?start_s=${from.toFixed(3)}&end_s=${to.toFixed(3)}&width=${width}`);
      image.alt = `Spectrogram from ${from.toFixed(1)} to ${to.toFixed(1)} s`;
    }, 120);
  }

  function ticks() {
    const wanted = (to - from) / 8, step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find(s => s >= wanted) || 7200;
    axis.replaceChildren(...Array.from({ length: Math.floor(to / step) - Math.ceil(from / step) + 1 }, (_, k) => {
      const time = (Math.ceil(from / step) + k) * step, tick = document.createElement("span");
      tick.textContent = time >= 120 ? `${Math.floor(time / 60)}:${String(Math.round(time % 60)).padStart(2, "0")}` : `${+time.toFixed(1)} s`;
      tick.style.left = `${Math.min(Math.max(100 * share(time), 2), 98)}%`;
      return tick;
    }));
  }

  function playhead() {
    const position = share(audio.currentTime);
    line.hidden = position < 0 || position > 1;
    line.style.left = `${100 * position}%`;
  }

  function zoom(factor, centre = (from + to) / 2) {
    const length = Math.min(Math.max((to - from) * factor, MIN_S), duration);
    move(Math.min(Math.max(centre - (centre - from) / (to - from) * length, 0), duration - length), length);
  }

  function move(start, length = to - from) {
    from = Math.min(Math.max(start, 0), duration - length); to = from + length; show();
  }

  const actions = {
    play: () => { if (audio.paused) audio.play(); else audio.pause(); },
    loop: () => { loop = loop ? null : [from, to]; show(); },
    in: () => zoom(0.5), out: () => zoom(2),
    left: () => move(from - (to - from) / 2), right: () => move(from + (to - from) / 2),
  };
  for (const button of box.querySelectorAll("[data-do]")) button.addEventListener("click", actions[button.dataset.do]);
  const keys = { " ": "play", "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", l: "loop" };
  stage.addEventListener("keydown", event => {
    const action = keys[event.key];
    if (event.target === stage && action) { event.preventDefault(); actions[action](); }
  });
  stage.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.shiftKey) return; // the page scrolls
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, from + (to - from) * event.offsetX / stage.clientWidth);
  }, { passive: false });
  image.addEventListener("click", event => { audio.currentTime = from + (to - from) * event.offsetX / stage.clientWidth; playhead(); });

  audio.addEventListener("play", function step() {
    if (loop && (audio.currentTime >= loop[1] || audio.currentTime < loop[0] - 0.3)) audio.currentTime = loop[0];
    if (audio.currentTime > to && !loop) move(audio.currentTime);
    playhead();
    if (!audio.paused) requestAnimationFrame(step);
  });
  audio.addEventListener("seeked", playhead);
  window.addEventListener("resize", show);
  show();
}
