// How it all does: the last hour, and what is there now.

import { get, key, metrics, query } from "./api.js";
import { badge, count, number, percent, span, time, jobLink } from "./words.js";
import { card, h, table } from "./dom.js";
import { plot } from "./plot.js";

const STATUSES = ["validating", "in_progress", "finalizing", "cancelling", "completed", "failed", "expired", "cancelled"];
const QUEUES = [
  ["ready", "due, and wait for a turn or for their destination"],
  ["waiting", "not due yet: retries, progress"],
  ["in_flight", "attempts being made now"],
  ["commands", "requests that wait for the engine"],
];

export const overview = {
  title: "Overview",

  async load(_, signal) {
    const [minutes, measured, letters, jobs] = await Promise.all([
      get("v1/webhooks/stats/minutes", signal),
      metrics(signal),
      get(`v1/webhooks/dead-letter${query({ resolved: false, limit: 5 })}`, signal),
      get("v1/batches?limit=1", signal),
    ]);
    return { minutes, measured, letters, isEmpty: jobs.data.length === 0 };
  },

  view({ minutes, measured, letters, isEmpty }) {
    if (isEmpty) return [h("h1", null, "Overview"), firstSteps()];
    const { hour } = minutes;
    const depth = (queue) => measured.get(`hookledger_queue_depth{queue="${queue}"}`) ?? 0;
    const late = measured.get("hookledger_oldest_due_seconds") ?? 0;
    const pending = depth("ready") + depth("waiting") + depth("in_flight");
    return [
      h("h1", null, "Overview"),
      !minutes.complete && h("p", { class: "hint" }, "The statistics are still being read back from the log: what is older is not in them yet."),
      h("div", { class: "tiles" },
        tile("Delivered, last hour", number(hour.delivered), count(hour.attempts, "attempt")),
        tile("Success rate, last hour", percent(hour.success_rate), hour.deliveries ? `of ${count(hour.deliveries, "delivery", "deliveries")} that ended` : "nothing has ended"),
        tile("Attempts took, p95", span(hour.latency_ms.p95), `p50 ${span(hour.latency_ms.p50)}, p99 ${span(hour.latency_ms.p99)}`),
        tile("Dead letters, unresolved", number(letters.total), letters.total ? h("a", { href: "#/dead-letters" }, "look at them") : "nothing to do", letters.total ? "bad" : "good"),
        tile("On their way", number(pending), late > 1 ? `the oldest has been due for ${span(late * 1000)}` : "nothing is late", late > 60 ? "warn" : "")),
      h("div", { class: "plots" }, plots(minutes.data)),
      card("Newest dead letters", letters.data.length ? newest(letters.data) : h("p", { class: "hint" }, "None is unresolved: every webhook was delivered, or is on its way.")),
      h("div", { class: "columns" },
        card("Jobs by status", statuses(measured)),
        card("What waits", table("What waits, and where", [["Where"], ["How many", "figure"], ["What that is"]], QUEUES.map(([queue, what]) => ({
          key: queue, cells: [queue.replace("_", " "), number(depth(queue)), what],
        }))))),
      h("p", { class: "more" }, versionOf(measured)),
    ];
  },

  concerns: () => true,
};

const versionOf = (measured) => [...measured.keys()].map((name) => name.match(/^hookledger_build_info{version="(.*)"}$/)).filter(Boolean).map(([, version]) => `hookledger ${version}`);

function tile(name, figure, more, mood = "") {
  return h("div", { class: `tile ${mood}`, key: name }, h("span", { class: "name" }, name), h("strong", null, figure), h("span", { class: "more" }, more));
}

function plots(data) {
  const minutes = data.map(({ at }) => at);
  const of = (read) => data.map(read);
  const sum = (values) => values.reduce((all, value) => all + value, 0);
  const delivered = of((minute) => minute.delivered), dead = of((minute) => minute.dead);
  const attempts = of((minute) => minute.attempts), failed = of((minute) => minute.failed_attempts);
  const worst = Math.max(0, ...of((minute) => minute.latency_ms.p99 ?? 0));
  return [
    plot({
      title: "Deliveries per minute", minutes, stacked: true, format: number,
      series: [{ name: "delivered", class: "good", values: delivered }, { name: "dead", class: "bad", values: dead }],
      summary: `last hour: ${number(sum(delivered))} delivered, ${number(sum(dead))} dead`,
    }),
    plot({
      title: "Success rate", minutes, end: 1, format: (share) => `${Math.round(share * 100)} %`,
      series: [
        { name: "deliveries", class: "good", values: of((minute) => minute.success_rate) },
        { name: "attempts", class: "busy", values: of((minute) => (minute.attempts ? 1 - minute.failed_attempts / minute.attempts : null)) },
      ],
      summary: sum(attempts) ? `last hour: ${number(sum(failed))} of ${count(sum(attempts), "attempt")} failed` : "no attempt in the last hour",
    }),
    plot({
      title: "How long attempts took", minutes, format: span,
      series: ["p50", "p95", "p99"].map((name) => ({ name, class: name, values: of((minute) => minute.latency_ms[name]) })),
      summary: sum(attempts) ? `last hour: no minute's p99 above ${span(worst)}` : "no attempt in the last hour",
    }),
  ];
}

function statuses(measured) {
  const many = STATUSES.map((status) => [status, measured.get(`hookledger_jobs{status="${status}"}`) ?? 0]);
  return table("Jobs by status", [["Status"], ["Jobs", "figure"]], many.map(([status, jobs]) => ({
    key: status, cells: [h("a", { href: `#/jobs?status=${status}` }, badge(status)), number(jobs)],
  })));
}

function newest(letters) {
  return table("The newest unresolved dead letters", [["Dead letter"], ["Job"], ["Why"], ["Given up", "short"]], letters.map((letter) => ({
    key: letter.id,
    cells: [h("a", { href: `#/dead-letters/${letter.id}` }, `no. ${letter.id}`), jobLink(letter.batch_id), letter.error_message, time(letter.created_at, "relative")],
  })));
}

// What somebody does who sees this page for the first time.
function firstSteps() {
  const base = new URL(".", location.href).href;
  const auth = key.get() ? " \\\n  -H \"Authorization: Bearer $KEY\"" : "";
  const json = " \\\n  -H 'Content-Type: application/json'";
  return h("section", { class: "card first" },
    h("h2", null, "There is no job yet"),
    h("p", null, "A job tells its webhook when it is done, and this page shows how that went. To see one go through:"),
    h("ol", null,
      h("li", null, "Start a receiver that fails twice, so that there is something to see:", h("pre", null, "hookledger listen --fail 2")),
      h("li", null, "Register a job whose webhook goes there (plain http to your own machine needs a server that was started with --dev):",
        h("pre", null, `curl ${base}v1/batches${auth}${json} \\\n  -d '{"id": "my-first-job", "webhook": {"url": "http://127.0.0.1:9000/"}}'`)),
      h("li", null, "Report that it is done:",
        h("pre", null, `curl -X PATCH ${base}v1/batches/my-first-job${auth}${json} \\\n  -d '{"status": "completed"}'`))),
    h("p", { class: "hint" }, "This page shows it as soon as it is registered; there is no need to reload."));
}
