// Parts of a page that keep current: an element with data-live and an id takes the content that it has in the page as
// the server has it now, on an event of the stream that data-events names, or every few seconds.
import { at, fetchPage } from "./page.js";

const POLL_MS = 5000, PAUSE_MS = 2000, OFFLINE_AFTER_MS = 6000;
const parts = [...document.querySelectorAll("[data-live]")], stream = document.querySelector("[data-events]")?.dataset;
const offline = document.getElementById("offline"), pause = document.querySelector("[data-pause-live]");
const listeners = [];
let source = null, version = stream?.version, isWaiting = false, isStale = false, offlineTimer = 0;

export function onRefresh(listener) { listeners.push(listener); }

const isPaused = () => document.hidden || pause?.getAttribute("aria-pressed") === "true";

// ---------------------------------------------------------------- new content

// Keeps equal elements, so that images are not loaded again and selected text stays; the focus moves to the same link.
function replaceContent(part, newer) {
  if (part.isEqualNode(newer)) return;
  const focused = part.contains(document.activeElement) && part !== document.activeElement ? document.activeElement : null;
  const known = [...part.childNodes];
  const children = [...newer.childNodes].map(child => {
    const k = known.findIndex(each => each.isEqualNode(child));
    return k < 0 ? child : known.splice(k, 1)[0];
  });
  const next = focused && (children.find(child => child.contains(focused)) ? focused : findSame(children, focused));
  if (focused && !next) return; // it is gone: the part waits until the focus is elsewhere
  part.replaceChildren(...children);
  next?.focus({ preventScroll: true });
}

function findSame(children, focused) {
  const links = children.filter(child => child.nodeType === Node.ELEMENT_NODE).flatMap(child => [child, ...child.querySelectorAll("*")]);
  return focused.id ? links.find(each => each.id === focused.id) : focused.href && links.find(each => each.getAttribute("href") === focused.getAttribute("href"));
}

async function refresh() {
  if (isPaused()) { isStale = true; return; }
  isStale = false;
  const page = await fetchPage(location.href);
  if (!page || isPaused()) return;
  for (const part of parts) {
    const newer = page.getElementById(part.id);
    if (newer) replaceContent(part, newer);
  }
  for (const listener of listeners) listener();
}

// ---------------------------------------------------------------- when

// At most one refresh at a time, with a pause after it.
async function schedule() {
  if (isWaiting) { isStale = true; return; }
  isWaiting = true;
  await refresh();
  setTimeout(() => { isWaiting = false; if (isStale && !isPaused()) schedule(); }, PAUSE_MS);
}

// A stream is open only while its page is in view: browsers have few connections to one server.
function listen() {
  source = new EventSource(`${at(stream.events)}?version=${version}`);
  source.onopen = () => { clearTimeout(offlineTimer); offlineTimer = 0; offline.hidden = true; };
  source.onerror = () => {
    offlineTimer ||= setTimeout(() => { offline.hidden = false; }, OFFLINE_AFTER_MS); // it ends each minute, and connects again
    if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (source?.readyState === EventSource.CLOSED) listen(); }, POLL_MS);
  };
  source.addEventListener("change", event => { version = event.lastEventId; schedule(); });
}

function watch() {
  if (document.hidden) { source?.close(); source = null; clearTimeout(offlineTimer); offlineTimer = 0; } else if (!source) listen();
}

function setUpPause() {
  if (!pause) return;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
    if (!isPaused()) schedule();
  });
}

setUpPause();
if (stream) { document.addEventListener("visibilitychange", watch); watch(); }
else {
  document.addEventListener("visibilitychange", () => { if (!document.hidden) schedule(); });
  setInterval(schedule, POLL_MS);
}
