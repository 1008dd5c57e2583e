// A delivery, with every attempt: what was sent, what came back, and why the next one comes when it does.

import { h, facts } from "./dom.js";
import { address, badge, span, time, instant } from "./words.js";
import { whyThen } from "./events.js";

// `delivery` in the API's form; `webhook` is what is known of the job's: `signed`, `headers` and `schedule`; `waiting` and
// `pausedUntil` are the server's word on what it waits for now.
export function deliveryCard(delivery, { webhook = {}, waiting = null, pausedUntil = null, isNow = true, isChanged = false }) {
  const { id, event, status, attempts, max_attempts: most } = delivery;
  return h("article", { class: isChanged ? "delivery changed" : "delivery", key: id, "aria-label": `Delivery of “${event}”` },
    h("h3", null, `Webhook “${event}” `, badge(status), isChanged && h("span", { class: "mark" }, "changed")),
    facts([
      ["Delivery", h("span", { class: "id" }, id)],
      delivery.url && ["To", address(delivery.url)],
      ["Decided on", time(delivery.created_at)],
      delivery.delivered_at && ["Delivered", time(delivery.delivered_at)],
      ["Attempts", `${attempts.length} made, ${most} at most`],
      delivery.dead_letter_id && ["Dead letter", delivery.is_letter_deleted
        ? `no. ${delivery.dead_letter_id}, deleted`
        : h("a", { href: `#/dead-letters/${delivery.dead_letter_id}` }, `no. ${delivery.dead_letter_id}: payload, retry`)],
      ["Next", next(delivery, { waiting, pausedUntil, isNow, webhook })],
    ]),
    attemptList(delivery, webhook));
}

// Why the next attempt comes when it comes, or why none does.
function next({ status, attempts, next_attempt_at: due, max_attempts: most }, { waiting, pausedUntil, isNow, webhook }) {
  const newest = attempts.at(-1);
  const number = newest && newest.error === null && newest.status_code === null ? newest.number : (newest?.number ?? 0) + 1;
  switch (status) {
    case "delivered": return "nothing: the receiver has it";
    case "dead": return newest?.status_code === 410 ? "nothing by itself: the receiver said that it is gone for good (410)" : `nothing by itself: all ${most} attempts have failed`;
    case "superseded": return "nothing: newer news has taken its place";
    case "in_flight": return `attempt ${newest?.number} is being made${isNow ? "" : " at this position"}`;
  }
  const attempt = `attempt ${number} of ${most}`;
  const then = newest?.retry_at ? ["; ", whyThen(newest, webhook.schedule)] : [];
  if (!isNow) return [`${attempt}, due `, time(due, "clock"), then];
  switch (waiting) {
    case "destination paused": return [`${attempt}, when its destination is tried again`, pausedUntil && [": ", time(pausedUntil, "clock"), " (", time(pausedUntil, "relative"), ")"], ". It fails, or has asked to be left alone; waiting uses up no attempt"];
    case "rate limit": return `${attempt}, as soon as the destination's rate limit allows`;
    case "progress interval": return [`${attempt} `, time(due, "relative"), ": the job's progress was told a moment ago, and a newer report would take its place"];
    case "turn": return `${attempt}, at its turn: others are being made`;
    default: return [`${attempt}, due `, time(due, "clock"), " (", time(due, "relative"), ")", then];
  }
}

export function attemptList(delivery, webhook) {
  if (!delivery.attempts.length) return h("p", { class: "hint" }, "No attempt has been made.");
  return h("ol", { class: "attempts" }, delivery.attempts.map((attempt) => h("li", { key: `a${attempt.number}` },
    h("details", null,
      h("summary", null,
        h("span", { class: "name" }, `Attempt ${attempt.number}`), outcome(attempt),
        h("span", null, time(attempt.started_at, "clock")), h("span", null, span(attempt.duration_ms)),
        h("span", { class: "why" }, attempt.error ?? "")),
      h("div", { class: "exchange" },
        h("div", null, h("h4", null, "What was sent"), request(delivery, attempt, webhook)),
        h("div", null, h("h4", null, "What came back"), response(attempt)))))));
}

const hasEnded = ({ duration_ms: took }) => took !== null && took !== undefined;

function outcome(attempt) {
  if (!hasEnded(attempt)) return attempt.interruptions ? badge("pending", "interrupted") : badge("in_flight", "under way");
  if (attempt.error === null) return badge("delivered", String(attempt.status_code ?? "delivered"));
  return badge("failed", String(attempt.status_code ?? attempt.error.split(":")[0]));
}

// The request's headers are not kept. These are what every attempt of this kind is sent with.
function request({ id, event, url }, { number, started_at: began }, { signed, headers }) {
  const note = (text) => h("span", { class: "more" }, text);
  const seconds = Math.floor(instant(began).getTime() / 1000);
  const signature = () => signed === false ? note("only if the server has a secret for all webhooks") : note("made for this attempt; its value is not kept");
  const line = (name, value) => h("div", { key: name }, h("dt", null, `${name}: `), h("dd", null, value));
  return h("dl", { class: "headers" },
    line("POST", url ?? ""),
    line("content-type", "application/json"),
    line("user-agent", ["hookledger/", note(" and the version of that time")]),
    line("webhook-id", id),
    line("webhook-timestamp", [String(seconds), note(" or a moment later, when it was sent; so is x-webhook-timestamp")]),
    line("webhook-signature", signature()),
    line("x-webhook-signature", signature()),
    line("x-webhook-event", event),
    line("x-webhook-attempt", String(number)),
    headers && line("…", note("and the webhook's own headers; their values are kept where secrets are")));
}

function response(attempt) {
  if (!hasEnded(attempt)) return h("p", { class: "hint" }, "Nothing yet.");
  const { status_code: status, error, response_excerpt: excerpt } = attempt;
  return [
    facts([["Status", status ?? "no answer"], error !== null && ["Why it failed", error], ["Took", span(attempt.duration_ms)]]),
    excerpt ? h("pre", { class: "excerpt", tabindex: 0, "aria-label": "The beginning of the answer" }, excerpt)
      : h("p", { class: "hint" }, status ? "The answer had no body." : "There was no answer."),
  ];
}
