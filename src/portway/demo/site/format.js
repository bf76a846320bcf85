/* Number formats. */

/** Seconds as milliseconds, with three significant digits. */
export function ms(seconds) {
  const value = seconds * 1000;
  if (value >= 99.5) return value.toFixed(0);
  return value.toFixed(value >= 9.95 ? 1 : 2);
}

/** Bytes per second as MB/s, with three significant digits. */
export function rate(bytesPerSecond) {
  const value = bytesPerSecond / 1e6;
  if (value >= 99.5) return value.toFixed(0);
  return value.toFixed(value >= 9.95 ? 1 : 2);
}

/** Integers with thin spaces: 100 000 000. */
export function whole(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** The quantile `share` of a sorted list. */
export function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** The next round number at or above: 1, 2, 5, 10, 20 … */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value * 0.9999) * power;
}

/** An axis label without trailing zeros. */
export function axis(value) {
  return String(Number(value.toPrecision(3)));
}
