// Plots of the last hour: an axis, some lines or bars, and a reading of the minute that is pointed at.

import { h } from "./dom.js";
import { minuteOf } from "./words.js";

const WIDTH = 420, HEIGHT = 180;
const LEFT = 52, RIGHT = 8, TOP = 10, BOTTOM = 22;
const TICKS = 4;

const round = (value) => Math.round(value * 10) / 10;

// A number at or above `most` at which an axis may end: 1, 2 or 5 and zeros. Counts have no fractions.
function axisEnd(most, isCount) {
  if (most <= 0) return isCount ? TICKS : 1;
  const magnitude = 10 ** Math.floor(Math.log10(most));
  const end = [1, 2, 4, 5, 10].map((step) => step * magnitude).find((step) => step >= most);
  return isCount ? Math.max(TICKS, Math.ceil(end / TICKS) * TICKS) : end;
}

// `series` are [{name, class, values}], one value for each minute, null where there is none. With `stacked` they are bars, one
// on top of the other; else lines.
export function plot({ title, minutes, series, stacked = false, end, format, summary }) {
  const totals = minutes.map((_, place) => stacked
    ? series.reduce((sum, { values }) => sum + (values[place] ?? 0), 0)
    : Math.max(0, ...series.map(({ values }) => values[place] ?? 0)));
  const most = end ?? axisEnd(Math.max(...totals), stacked);
  const step = (WIDTH - LEFT - RIGHT) / minutes.length;
  const x = (place) => LEFT + place * step;
  const y = (value) => round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / most));

  const grid = Array.from({ length: TICKS + 1 }, (_, tick) => {
    const value = (most / TICKS) * tick;
    return [
      h("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      h("text", { class: "axis", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value ? format(value) : "0"),
    ];
  });
  const clock = minutes.map((at, place) => ({ at, place })).filter(({ place }) => place % 20 === 0 || place === minutes.length - 1);
  const hours = clock.map(({ at, place }) => h("text", {
    class: "axis", x: round(x(place + 0.5)), y: HEIGHT - 6, "text-anchor": place === minutes.length - 1 ? "end" : place ? "middle" : "start",
  }, minuteOf(at)));

  const reading = h("p", { class: "reading" });
  const cursor = h("rect", { class: "cursor", y: TOP, height: HEIGHT - TOP - BOTTOM, width: round(step), visibility: "hidden" });
  const read = (place) => {
    const told = series.map(({ name, values }) => `${name} ${values[place] === null ? "–" : format(values[place])}`).join(", ");
    reading.textContent = place === null ? summary : `${minuteOf(minutes[place])}: ${told}`;
    cursor.setAttribute("visibility", place === null ? "hidden" : "visible");
    if (place !== null) cursor.setAttribute("x", round(x(place)));
  };
  reading.textContent = summary;
  let chosen = minutes.length - 1;
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) * (WIDTH / box.width) - LEFT) / step);
    if (place >= 0 && place < minutes.length) read(chosen = place);
  };
  const move = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    read(chosen = Math.min(minutes.length - 1, Math.max(0, chosen + by)));
  };
  return h("figure", { class: "plot", key: title },
    h("figcaption", null, h("strong", null, title), h("span", { class: "legend" },
      series.map(({ name, class: kind }) => h("span", { class: `key ${kind}` }, name)))),
    h("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${summary}. Arrow keys read single minutes.`, tabindex: 0,
      onpointermove: point, onpointerleave: () => read(null), onkeydown: move,
    }, grid, hours, stacked ? bars(series, x, y, step) : series.map((each) => line(each, x, y)), cursor),
    reading);
}

function bars(series, x, y, step) {
  const base = new Map();
  return series.map(({ values, class: kind }) => {
    const parts = values.map((value, place) => {
      if (!value) return "";
      const from = base.get(place) ?? 0;
      base.set(place, from + value);
      const [left, right] = [round(x(place) + step * 0.12), round(x(place) + step * 0.88)];
      return `M${left} ${y(from)}H${right}V${y(from + value)}H${left}Z`;
    });
    return h("path", { class: `area ${kind}`, d: parts.join("") || "M0 0" });
  });
}

// Minutes of which nothing is known are gaps; one that stands alone is a dot.
function line({ values, class: kind }, x, y) {
  let path = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const [at, level] = [round(x(place + 0.5)), y(value)];
    path += place && values[place - 1] !== null ? `L${at} ${level}` : `M${at} ${level}h.01`;
  });
  return h("path", { class: `line ${kind}`, d: path || "M0 0" });
}
