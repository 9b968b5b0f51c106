// Colors of gray levels: a palette, stretched between a dark and a bright level of the recording.
const STOPS = {
  Dawn: ["#0b1220", "#16254a", "#413a7d", "#8a4a8f", "#d4607c", "#f6946a", "#fcd489", "#fffbe6"],
  Paper: ["#ffffff", "#000000"],
  Viridis: ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"],
};
export const PALETTES = Object.keys(STOPS);

const channels = color => [1, 3, 5].map(k => parseInt(color.slice(k, k + 2), 16));

function mix(stops, share) {
  const position = Math.min(Math.max(share, 0), 1) * (stops.length - 1), first = Math.min(Math.floor(position), stops.length - 2);
  return stops[first].map((value, k) => value + (stops[first + 1][k] - value) * (position - first));
}

// Returns RGBA values of the 256 gray levels. `levels` is the range of gray that the palette covers.
export function colorTable(palette, levels, { brightness, contrast }) {
  const stops = STOPS[palette].map(channels), table = new Uint8ClampedArray(256 * 4);
  for (let gray = 0; gray < 256; gray++) {
    const share = (gray - levels.low) / (levels.high - levels.low);
    table.set([...mix(stops, (share - 0.5) * contrast + 0.5 + brightness), 255], 4 * gray);
  }
  return table;
}

// Returns the range from the usual background to near the loudest of some tiles; black is outside the recording.
export function findLevels(tiles) {
  const counts = new Uint32Array(256);
  for (const { gray } of tiles) for (const value of gray) counts[value]++;
  counts[0] = 0;
  const total = counts.reduce((sum, n) => sum + n, 0);
  const percentile = share => {
    let left = share * total;
    return counts.findIndex(n => (left -= n) < 0);
  };
  if (!total) return { low: 60, high: 200 };
  const low = percentile(0.4);
  return { low, high: Math.max(percentile(0.9995), low + 58) }; // 35 dB at least
}
