// Charts: drawn from the tables next to them, and redrawn when these have newer numbers.
import { onRefresh } from "./live.js";

const LINE_HEIGHT = 220, BAR_HEIGHT = 28, NAME_WIDTH = 160;
const { uPlot } = window;
const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rowsOf = chart => [...document.querySelectorAll(`#${chart.dataset.chart} [data-value]`)]
  .map(({ dataset }) => ({ name: dataset.name, value: Number(dataset.value), at: dataset.at, href: dataset.href }));

// ---------------------------------------------------------------- kinds of charts

const axis = more => ({
  stroke: () => color("faint"), grid: { stroke: () => color("line"), width: 1 }, ticks: { show: false }, ...more,
});
const whole = (_, ticks) => ticks.map(tick => (Number.isInteger(tick) ? tick : ""));
const shortened = name => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

// Predictions in the order of time, the oldest left; the table has the newest first.
const line = {
  read: chart => rowsOf(chart).reverse(),
  height: () => LINE_HEIGHT,
  columns: (rows, chart) => [rows.map(() => Number(chart.dataset.minScore))],
  options: (rows, chart) => ({
    scales: { x: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] }, y: { range: [0, 1] } },
    axes: [axis({ size: 28, space: 70, incrs: [1, 2, 5, 10], values: (_, ticks) => ticks.map(k => rows()[k]?.at.slice(11) ?? "") }), axis({ size: 44 })],
    series: [{}, { stroke: () => color("sun"), width: 2, points: { show: true, size: 7, fill: () => color("sun") } }, { show: Number(chart.dataset.minScore) > 0, stroke: () => color("faint"), dash: [4, 4], points: { show: false } }],
  }),
  words: row => `${row.name}, score ${row.value.toFixed(2)}, at ${row.at} UTC`,
};

// A bar for each species, the most frequent on top.
const bars = {
  read: rowsOf,
  columns: () => [],
  height: rows => 45 + BAR_HEIGHT * rows.length,
  options: rows => ({
    scales: { x: { time: false, ori: 1, dir: -1, range: (_, low, high) => [low - 0.6, high + 0.6] }, y: { ori: 0, range: (_, low, high) => [0, Math.max(high, 1)] } },
    axes: [
      axis({ side: 3, size: NAME_WIDTH, gap: 6, grid: { show: false }, splits: () => rows().map((_, k) => k), values: (_, ticks) => ticks.map(k => (rows()[k] ? `${shortened(rows()[k].name)}  ${rows()[k].value.toLocaleString("en")}` : "")) }),
      axis({ side: 2, size: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 1000, 10000, 100000, 1000000], values: whole }),
    ],
    series: [{}, { fill: () => color("sun"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 24] }) }],
  }),
  words: row => `${row.name}: ${row.value.toLocaleString("en")} recording${row.value === 1 ? "" : "s"}`,
};

// ---------------------------------------------------------------- one chart

function draw(chart, kind) {
  const box = chart.querySelector("[data-canvas]"), readout = chart.querySelector("[data-readout]"), hint = readout.textContent;
  let rows = kind.read(chart), plot = null;
  const data = () => [rows.map((_, k) => k), rows.map(row => row.value), ...kind.columns(rows, chart)];
  const show = index => { readout.textContent = rows[index] ? kind.words(rows[index]) : hint; };
  const size = () => ({ width: Math.max(box.clientWidth, 200), height: kind.height(rows) });
  const point = index => plot.setCursor(plot.scales.x.ori ? { top: plot.valToPos(index, "x"), left: 1 } : { left: plot.valToPos(index, "x"), top: 1 });

  function update() {
    rows = kind.read(chart);
    chart.hidden = !rows.length;
    if (!rows.length) return;
    if (!plot) {
      const options = { ...size(), ...kind.options(() => rows, chart), legend: { show: false }, hooks: { setCursor: [({ cursor }) => show(cursor.idx)] } };
      options.cursor = { drag: { x: false, y: false }, y: false };
      plot = new uPlot(options, data(), box);
      box.querySelectorAll("canvas").forEach(canvas => canvas.setAttribute("aria-hidden", "true"));
      new ResizeObserver(() => plot.setSize(size())).observe(box);
    } else { plot.setData(data()); plot.setSize(size()); }
  }

  const open = () => { const { href } = rows[plot?.cursor.idx] ?? {}; if (href) location.href = href; };
  box.addEventListener("click", open);
  chart.addEventListener("keydown", event => {
    if (event.key === "Enter") open();
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step || !rows.length) return;
    event.preventDefault();
    point(Math.min(Math.max((plot.cursor.idx ?? (step > 0 ? -1 : rows.length)) + step, 0), rows.length - 1));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot?.redraw());
  update();
  return update;
}

const updates = [...document.querySelectorAll("[data-chart]")].map(chart => draw(chart, { line, bars }[chart.dataset.kind]));

for (const update of updates) onRefresh(update);
