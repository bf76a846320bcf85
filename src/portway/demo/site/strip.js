/* A strip chart: a labelled grid with one line. */

import { axis, roundUp } from "./format.js";
import { makeSvg } from "./dom.js";

const GUTTER = 34; /* width of the labels of the y axis, in pixels */

/**
 * Draw values on `svg`, from left to right over `slots` positions.
 * A null leaves a gap; a value above the top (an outlier) is clipped.
 */
export function drawStrip(svg, values, { slots, top, dot = false, area = false }) {
  const { width, height } = svg.getBoundingClientRect();
  if (!width) return;
  const ceiling = roundUp(Math.max(top, 1e-6));
  const y = (value) => height - 1 - (value / ceiling) * (height - 12);
  const x = (slot) => GUTTER + (slot / Math.max(1, slots - 1)) * (width - GUTTER - 5);
  const parts = [];
  for (const share of [0.5, 1]) {
    const level = y(ceiling * share);
    parts.push(makeSvg("line", { class: "grid", x1: GUTTER, x2: width, y1: level, y2: level }));
    parts.push(makeSvg("text", { x: 0, y: level + 4 }, axis(ceiling * share)));
  }
  for (let step = 0; step <= 10; step++) {
    const at = GUTTER + (step / 10) * (width - GUTTER - 1);
    parts.push(makeSvg("line", { class: "grid", x1: at, x2: at, y1: 0, y2: height }));
  }
  const points = [];
  values.forEach((value, slot) => points.push(value === null ? null : [x(slot), y(value)]));
  const known = points.filter(Boolean);
  if (area && known.length > 1) {
    parts.push(makeSvg("path", { class: "area", d: `M${known[0][0]} ${height}L${known.map((p) => p.join(" ")).join("L")}L${known.at(-1)[0]} ${height}Z` }));
  }
  parts.push(makeSvg("path", { class: "trace", d: tracePath(points) }));
  const last = points.at(-1);
  if (dot && last) parts.push(makeSvg("circle", { class: "now", cx: last[0], cy: Math.max(4, last[1]), r: 3.5 }));
  svg.replaceChildren(...parts);
}

function tracePath(points) {
  let pen = "M";
  let path = "";
  for (const point of points) {
    if (point === null) {
      pen = "M";
      continue;
    }
    path += `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    pen = "L";
  }
  return path;
}
