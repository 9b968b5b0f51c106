// Single-key shortcuts of a page, ignored in fields. If turned off, the slider keeps its arrow keys, and Ctrl+Z works.
const STORED = "single-keys";
const REPEATING = ["ArrowLeft", "ArrowRight", "j", "k"];

export function watchKeys(actions, box) {
  box.checked = localStorage.getItem(STORED) !== "off";
  box.addEventListener("change", () => localStorage.setItem(STORED, box.checked ? "on" : "off"));
  document.addEventListener("keydown", event => {
    const { target } = event, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isControl = event.ctrlKey || event.metaKey;
    if (event.altKey || event.defaultPrevented || (isControl && !actions[`Ctrl+${key}`])) return;
    if (!box.checked && !isControl && (key.length === 1 || !target.matches("[role=slider]"))) return;
    if (target.matches("input:not([type=checkbox]):not([type=range]), textarea, select") || target.isContentEditable) return;
    if (target.matches("input[type=range]") && (key.startsWith("Arrow") || key === "Home" || key === "End")) return;
    if (key === " " && target.matches("button, summary, input, a, audio")) return; // it has a use of its own
    const action = actions[isControl ? `Ctrl+${key}` : event.shiftKey ? `Shift+${key}` : key] ?? (isControl ? undefined : actions[key]);
    if (!action || (event.repeat && !REPEATING.includes(key))) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("click", event => { if (event.detail) event.target.closest("button")?.blur(); }); // by mouse: the space bar still plays
}
