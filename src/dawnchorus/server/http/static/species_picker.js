// Fields for a species: its names are offered while one is typed, and chosen by arrows and Enter. Without arrows, what was
// typed counts, as without scripts.
import { request } from "./page.js";

const { TomSelect } = window, N_OFFERED = 20;
let classes = null; // common names of the model's classes, loaded when the first one is typed

async function loadDetected(text, show) {
  const reply = await request("GET", `/api/v1/species?name=${encodeURIComponent(text)}&limit=${N_OFFERED}`).catch(() => null);
  show(reply?.species.map(each => ({ value: each.common_name, text: each.common_name, scientific: each.scientific_name })) ?? []);
}

async function loadClasses(text, show) {
  classes ??= request("GET", "/api/classes").catch(() => null);
  const reply = await classes, part = text.toLowerCase();
  if (!reply) classes = null; // asked again next time
  show((reply?.classes ?? []).filter(name => name.toLowerCase().includes(part)).slice(0, N_OFFERED).map(name => ({ value: name, text: name })));
}

const kinds = { "": { load: loadDetected, describe: text => `all with “${text}”` }, classes: { load: loadClasses, describe: text => `“${text}”` } };

function drawOption({ text, scientific }, escape) {
  return `<div>${escape(text)} <i lang="la">${escape(scientific ?? "")}</i></div>`;
}

// Writes a name into a field, without an event.
export function setSpecies(input, name) {
  const { tomselect } = input;
  if (!tomselect) { input.value = name; return; }
  tomselect.clear(true);
  tomselect.setTextboxValue("");
  if (!name) return;
  tomselect.addOption({ value: name, text: name });
  tomselect.setValue(name, true);
}

export function focusSpecies(input) { (input.tomselect ?? input).focus(); }

const fields = TomSelect ? document.querySelectorAll("[data-species-picker]") : []; // without it, they are plain
for (const input of fields) {
  const { load, describe } = kinds[input.dataset.speciesPicker];
  input.required = false; // the field that is seen is another one
  new TomSelect(input, {
    maxItems: 1, create: true, addPrecedence: true, createOnBlur: true, persist: false, selectOnTab: false, delimiter: "\n", maxOptions: N_OFFERED, load, loadThrottle: 200,
    searchField: ["text", "scientific"], render: { option: drawOption, option_create: ({ input: text }, escape) => `<div class="create" role="option">${escape(describe(text))}</div>` },
  });
}
