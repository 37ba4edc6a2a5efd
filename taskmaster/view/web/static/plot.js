// The plot of jobs a second: an SVG of our own, drawn with attributes only, because the page forbids styles from scripts.

import { compact, tick } from "./words.js";

const NAMES = "http://www.w3.org/2000/svg";
const LEFT = 46, RIGHT = 10, TOP = 12, BOTTOM = 22;

function shape(tag, attributes, text = "") {
  const node = document.createElementNS(NAMES, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  if (text) node.textContent = text;
  return node;
}

function nice(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((one) => one * power).find((one) => one >= most);
}

// points: [at, rate, failed, held, limit]; marks: [at, text].
export function draw(place, points, marks) {
  const width = Math.max(200, place.clientWidth), height = Math.max(100, place.clientHeight);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Jobs a second over time; the table below has the numbers" });
  if (points.length < 2) {
    svg.append(shape("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing to plot yet"));
    place.replaceChildren(svg);
    return;
  }
  const first = points[0][0], last = points.at(-1)[0], seconds = Math.max(1, last - first);
  const top = nice(Math.max(...points.map((one) => one[1])));
  const x = (at) => LEFT + ((at - first) / seconds) * (width - LEFT - RIGHT);
  const y = (rate) => TOP + (1 - Math.min(1, rate / top)) * (height - TOP - BOTTOM);
  const near = (value) => Math.round(value * 10) / 10;
  const floor = height - BOTTOM;
  let begun = null;
  for (let i = 0; i <= points.length; i++) {
    const held = i < points.length && points[i][3];
    if (held && begun === null) begun = points[Math.max(0, i - 1)][0];
    if (!held && begun !== null) {
      const end = points[i - 1][0];
      svg.append(shape("rect", { class: "band", x: near(x(begun)), y: TOP, width: near(Math.max(1, x(end) - x(begun))), height: floor - TOP }));
      begun = null;
    }
  }
  for (const part of [0, 0.5, 1]) {
    const at = near(y(part * top));
    svg.append(shape("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
    svg.append(shape("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, compact(part * top)));
  }
  const ticks = Math.max(2, Math.min(6, Math.floor(width / 150)));
  for (let i = 0; i <= ticks; i++) {
    const at = first + (seconds * i) / ticks;
    svg.append(shape("text", { x: near(x(at)), y: height - 5, "text-anchor": i === 0 ? "start" : i === ticks ? "end" : "middle" }, tick(at, seconds)));
  }
  const way = points.map((one, i) => `${i ? "L" : "M"}${near(x(one[0]))} ${near(y(one[1]))}`).join("");
  svg.append(shape("path", { class: "area", d: `${way}L${near(x(last))} ${floor}L${near(x(first))} ${floor}Z` }));
  const limit = points.at(-1)[4];
  if (limit > 0 && limit <= top) svg.append(shape("line", { class: "limit", x1: LEFT, x2: width - RIGHT, y1: near(y(limit)), y2: near(y(limit)) }));
  svg.append(shape("path", { class: "line", d: way }));
  for (const [at, text] of marks) {
    if (at < first || at > last) continue;
    const middle = near(x(at));
    const mark = shape("path", { class: "mark", d: `M${middle} ${floor - 10}l6 10h-12z` });
    mark.append(shape("title", {}, text));
    svg.append(mark);
  }
  place.replaceChildren(svg);
}
