// Numbers, times and texts as the page shows them. Everything is made as text, never as markup.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minutes = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const date = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const known = (value) => value !== null && value !== undefined && value !== "";
export const count = (value) => (known(value) ? whole.format(value) : "–");
export const compact = (value) => (known(value) ? short.format(value) : "–");
export const many = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;

export function speed(value) {
  if (!known(value)) return "–";
  if (value === 0) return "0";
  return value >= 100 ? whole.format(value) : value >= 0.01 ? String(Number(value.toPrecision(3))) : "< 0.01";
}

export function span(seconds) {
  if (!known(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds)), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  if (d) return `${count(d)} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}

export function brief(seconds) {
  if (!known(seconds)) return "–";
  if (seconds >= 60) return span(seconds);
  if (seconds >= 1) return `${Number(seconds.toPrecision(2))} s`;
  return seconds >= 1e-3 ? `${Number((seconds * 1e3).toPrecision(2))} ms` : `${Number((seconds * 1e6).toPrecision(2))} µs`;
}

export const time = (at) => (known(at) ? clock.format(new Date(at * 1000)) : "–");

export function moment(at, now) {
  if (!known(at)) return "–";
  const when = new Date(at * 1000), far = Math.abs(at - now);
  return far < 43200 ? clock.format(when) : far < 5 * 86400 ? day.format(when) : date.format(when);
}

export function tick(at, seconds) {
  const when = new Date(at * 1000);
  return seconds < 900 ? clock.format(when) : seconds < 86400 ? minutes.format(when) : date.format(when);
}

export const sentence = (text) => (known(text) ? text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".") : "");

export const at = (id) => document.getElementById(id);

export function put(node, text) {
  const found = typeof node === "string" ? at(node) : node;
  if (found.textContent !== text) found.textContent = text;
}

export function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

// Keeps one child for each row, in the order of the rows: what is open stays open, what has the focus keeps it.
export function list(parent, rows, keyOf, create, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = null;
  for (const row of rows) {
    const key = String(keyOf(row));
    let child = before.get(key);
    if (child) before.delete(key);
    else { child = create(row); child.dataset.key = key; }
    update(child, row);
    const next = place === null ? parent.firstElementChild : place.nextElementSibling;
    if (next !== child) parent.insertBefore(child, next);
    place = child;
  }
  for (const child of before.values()) child.remove();
}

export async function copy(text, button) {
  const label = button.dataset.label ?? (button.dataset.label = button.textContent);
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it by hand";
  }
  setTimeout(() => { button.textContent = label; }, 2000);
}
