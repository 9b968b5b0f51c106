// Gestures on the spectrogram: drag to move, Shift and drag to mark a span, Ctrl and wheel or pinch to zoom, click to play from.
const CLICK_PIXELS = 4;

// Calls `onClick(time)`, `onSpan([start, end])` and `onHover(time or null, share of the height)`.
export function watchPointer(stage, view, { onClick, onSpan, onHover }) {
  const pointers = new Map();
  let first = null, lastGap = 0;
  const share = event => { const { left, width } = stage.getBoundingClientRect(); return (event.clientX - left) / width; };
  const timeAt = event => view.timeAt(share(event));
  const gap = () => { const [a, b] = [...pointers.values()]; return Math.max(Math.abs(a.clientX - b.clientX), 20); };

  stage.addEventListener("pointerdown", event => {
    if (event.button) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    first = { x: event.clientX, time: timeAt(event), isSpan: event.shiftKey, hasMoved: false };
    if (pointers.size === 2) { lastGap = gap(); first.hasMoved = true; }
  });
  stage.addEventListener("pointermove", event => {
    const { top, height } = stage.getBoundingClientRect();
    onHover(timeAt(event), 1 - (event.clientY - top) / height);
    if (!pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) { const now = gap(); view.zoom(lastGap / now, timeAt(event)); lastGap = now; return; }
    first.hasMoved ||= Math.abs(event.clientX - first.x) > CLICK_PIXELS;
    if (!first.hasMoved) return;
    if (first.isSpan) onSpan([first.time, timeAt(event)].sort((a, b) => a - b));
    else view.show(first.time - share(event) * view.length);
  });
  const release = event => {
    if (!pointers.delete(event.pointerId)) return;
    if (event.type === "pointerup" && !first.hasMoved) onClick(first.time);
    if (pointers.size) first = { x: [...pointers.values()][0].clientX, time: timeAt([...pointers.values()][0]), isSpan: false, hasMoved: true };
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", () => onHover(null));
  stage.addEventListener("wheel", event => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    view.zoom(2 ** (Math.sign(event.deltaY) * 0.4), timeAt(event));
  }, { passive: false });
}
