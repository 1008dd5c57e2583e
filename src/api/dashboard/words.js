// How times, spans, numbers and states are said.

import { h } from "./dom.js";

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const NUMBER = new Intl.NumberFormat();

const SECOND = 1000, MINUTES = 60 * SECOND, HOURS = 60 * MINUTES, DAYS = 24 * HOURS;

export const number = (value) => NUMBER.format(value);

export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

// A share of 0 to 1. It is never rounded up to all, nor down to nothing.
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0 || share === 1) return `${share * 100} %`;
  return `${Math.min(99.9, Math.max(0.1, share * 100)).toFixed(1)} %`;
}

// A length of time in milliseconds.
export function span(millis) {
  if (millis === null || millis === undefined) return "–";
  if (millis < 1) return "< 1 ms";
  if (millis < SECOND) return `${Math.round(millis)} ms`;
  if (millis < MINUTES) return `${(millis / SECOND).toFixed(millis < 10 * SECOND ? 1 : 0)} s`;
  if (millis < 2 * HOURS) return `${Math.round(millis / MINUTES)} min`;
  if (millis < 2 * DAYS) return `${Math.round(millis / HOURS)} h`;
  return `${Math.round(millis / DAYS)} days`;
}

// The API has ISO 8601 in some places and Unix seconds, as OpenAI has them, in others.
export const instant = (at) => new Date(typeof at === "number" ? at * SECOND : at);

export const minuteOf = (at) => MINUTE.format(instant(at));

const utc = (date) => `${date.toISOString().replace("T", " ").replace("Z", "")} UTC`;

// A point in time: local, with UTC on hover. `form` is "full" (date and time), "clock" or "relative".
export function time(at, form = "full") {
  if (at === null || at === undefined) return "–";
  const date = instant(at);
  const said = form === "relative" ? relative(date) : form === "clock" ? CLOCK.format(date) : LOCAL.format(date);
  const title = form === "relative" ? `${LOCAL.format(date)} · ${utc(date)}` : utc(date);
  return h("time", { datetime: date.toISOString(), title, "data-relative": form === "relative" }, said);
}

function relative(date, now = Date.now()) {
  const away = date.getTime() - now;
  if (Math.abs(away) < SECOND) return "now";
  return away > 0 ? `in ${span(away)}` : `${span(-away)} ago`;
}

// Says relative times anew.
export function tick() {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const said = relative(instant(element.dateTime));
    if (element.textContent !== said) element.textContent = said;
  }
}

// States, and how good they are: "good", "bad", "busy", "warn" or "calm".
const MOODS = {
  completed: "good", delivered: "good", sent: "good", answering: "good",
  failed: "bad", dead: "bad", expired: "bad", unresolved: "bad",
  in_progress: "busy", finalizing: "busy", in_flight: "busy", cancelling: "busy",
  pending: "warn", paused: "warn", recovering: "warn", failing: "warn",
};

export function badge(state, said = state.replaceAll("_", " ")) {
  return h("span", { class: `badge ${MOODS[state] ?? "calm"}` }, said);
}

export const jobLink = (id) => h("a", { class: "id", href: `#/jobs/${encodeURIComponent(id)}` }, id);

export const code = (text) => h("code", null, text);

// An address as people compare it: without its scheme, and cut where it would be too long.
export function address(url) {
  return h("span", { class: "address", title: url }, url);
}
