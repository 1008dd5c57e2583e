// How each destination does: the last hour, the last day, and now.

import { get } from "./api.js";
import { h } from "./dom.js";
import { badge, count, number, percent, span, time } from "./words.js";

// Rows beyond this are found with the filter.
const SHOWN = 100;

const COLUMNS = ["Destination", "Now", "Within", "Deliveries", "Success", "Attempts", "Failed", "p50", "p95", "p99"];

export const destinations = {
  title: "Destinations",

  load: (_, signal) => get("v1/webhooks/stats", signal),

  view(stats, place, { go }) {
    const filter = place.query.host ?? "";
    const matching = stats.data.filter(({ host }) => host.includes(filter.toLowerCase())).sort((a, b) => trouble(b) - trouble(a));
    return [
      h("h1", null, "Destinations"),
      h("p", { class: "hint" }, "Every host that webhooks went to within a day, those with trouble first. One that keeps failing is paused, and then tried with one attempt at a time; what waits for it uses up no attempts."),
      !stats.complete && h("p", { class: "hint" }, "The statistics are still being read back from the log: what is older is not in them yet."),
      stats.data.length > 10 && h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
        h("label", null, "Host contains", h("input", { type: "search", value: filter, oninput: (event) => go("destinations", { host: event.target.value }, true) }))),
      matching.length ? list(matching.slice(0, SHOWN)) : h("p", { class: "card empty" }, stats.data.length
        ? "No host has that in its name."
        : "Nothing was sent to any webhook within the last day. Destinations appear here as soon as something is on its way to them."),
      matching.length > SHOWN && h("p", { class: "hint" }, `${count(matching.length - SHOWN, "more host")}: narrow them down with the filter.`),
    ];
  },

  concerns: (event) => event.delivery_id !== undefined,
};

const paused = (host) => host.now?.find((now) => now.paused_until);

function trouble(host) {
  const share = host.last_hour.success_rate ?? host.last_day.success_rate ?? 1;
  return (paused(host) ? 4 : 0) + (host.now?.some((now) => now.failures) ? 2 : 0) + (1 - share);
}

function list(hosts) {
  return h("div", { class: "scroll" }, h("table", { role: "table", class: "destinations" },
    h("caption", { class: "unseen" }, "Destinations and how they do"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map((name, place) => h("th", { scope: "col", role: "columnheader", class: place > 2 && "figure" }, name)))),
    hosts.map((host) => h("tbody", { role: "rowgroup", key: host.host },
      h("tr", { role: "row" },
        h("th", { scope: "rowgroup", role: "rowheader", rowspan: 2 }, h("span", { class: "id" }, host.host)),
        h("td", { role: "cell", rowspan: 2, "data-label": "Now" }, h("div", null, condition(host))),
        figures("last hour", host.last_hour)),
      h("tr", { role: "row" }, figures("last day", host.last_day))))));
}

function figures(within, { deliveries, success_rate: rate, attempts, failed_attempts: failed, latency_ms: took }) {
  const cell = (name, content, kind = "figure") => h("td", { role: "cell", class: kind, "data-label": name }, h("div", null, content));
  return [
    cell("Within", within, "short"), cell("Deliveries", number(deliveries)),
    cell("Success", percent(rate), rate !== null && rate < 0.95 ? "figure wrong" : "figure"),
    cell("Attempts", number(attempts)), cell("Failed", number(failed)),
    cell("p50", span(took.p50)), cell("p95", span(took.p95)), cell("p99", span(took.p99)),
  ];
}

// How it stands now, in words; a host may be several destinations, by scheme.
function condition({ now }) {
  if (now === null) return "not known at the moment: the engine is busy";
  if (!now.length) return [badge("at rest"), h("span", { class: "more" }, "nothing on its way")];
  return now.map((each) => h("div", null,
    now.length > 1 && h("span", { class: "more" }, each.destination, " "),
    state(each),
    h("span", { class: "more" }, on(each))));
}

function state({ paused_until: until, failures, slots, in_flight: inFlight }) {
  if (until) return [badge("paused"), h("span", { class: "more" }, "until ", time(until, "clock"), " (", time(until, "relative"), `), after ${count(failures, "failure")} in a row`)];
  if (failures && slots === 1) return [badge("recovering", "being tried"), h("span", { class: "more" }, `the next attempt finds out, after ${count(failures, "failure")} in a row`)];
  if (failures) return [badge("failing"), h("span", { class: "more" }, `${count(failures, "failure")} in a row`)];
  return [badge("answering"), inFlight >= slots && h("span", { class: "more" }, `all ${slots} places taken`)];
}

const on = ({ in_flight: inFlight, ready, waiting }) => inFlight + ready + waiting
  ? `${number(inFlight)} in flight, ${number(ready)} due, ${number(waiting)} not due yet`
  : "nothing on its way";
