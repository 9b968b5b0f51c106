// Fields for a species: its names are offered while one is typed. Any other text stays possible, as without scripts.
import { request } from "./page.js";

const { TomSelect } = window, N_OFFERED = 20;

async function load(text, show) {
  const reply = await request("GET", `/api/v1/species?name=${encodeURIComponent(text)}&limit=${N_OFFERED}`).catch(() => null);
  show(reply?.species.map(each => ({ value: each.common_name, text: each.common_name, scientific: each.scientific_name })) ?? []);
}

function drawOption({ text, scientific }, escape) {
  return `<div>${escape(text)} <i lang="la">${escape(scientific ?? "")}</i></div>`;
}

for (const input of document.querySelectorAll("[data-species-picker]")) {
  new TomSelect(input, {
    maxItems: 1, create: true, createOnBlur: true, persist: false, selectOnTab: false, maxOptions: N_OFFERED, load, loadThrottle: 200,
    searchField: ["text", "scientific"], render: { option: drawOption, option_create: ({ input: text }, escape) => `<div class="create" role="option">all with “${escape(text)}”</div>` },
  });
}
