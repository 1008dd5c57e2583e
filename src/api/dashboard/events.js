// What events say, for people; and what they lead to: the state of deliveries at any position of a job's history.

import { instant, number, span } from "./words.js";

// What one event says: `title` in a few words, `detail` in some more, and `mood`: how good that is.
export function describe(event) {
  const say = (title, mood = "calm", detail = null) => ({ title, mood, detail });
  const attempt = `attempt ${event.attempt}`;
  switch (event.type) {
    case "job_registered": return say("Job registered", "calm", registered(event.spec));
    case "job_transitioned": return say(`Job became ${event.report.status?.replaceAll("_", " ")}`, moodOf(event.report.status), reported(event.report));
    case "progress_reported": return say("Progress reported", "calm", reported(event.report));
    case "delivery_scheduled": return say(`Webhook “${event.event}” to be delivered`, "busy", `at most ${event.max_attempts} attempts, each up to ${event.timeout} s`);
    case "attempt_started": return say(`Attempt ${event.attempt} begun`, "busy");
    case "attempt_succeeded": return say(`Delivered by ${attempt}`, "good", ended(event));
    case "attempt_failed": return say(`Attempt ${event.attempt} failed`, "bad", ended(event));
    case "attempt_interrupted": return say(`Attempt ${event.attempt} interrupted`, "warn", "the server stopped meanwhile; it is made again under its number");
    case "delivery_exhausted": return say(`Given up: dead letter ${event.dead_letter_id}`, "bad", "no attempt is left");
    case "delivery_superseded": return say("Superseded", "calm", "newer news took the delivery's place");
    case "redelivery_requested": return say("One more attempt asked for", "busy", event.forced ? "with force" : null);
    case "dead_letter_deleted": return say(`Dead letter ${event.dead_letter_id} deleted`, "calm");
    case "webhook_configured": return say("Webhook has options", "calm", configured(event));
    case "secret_rotated": return say("Signing secret changed", "calm", `the former one signs, too, until ${instant(event.former_until).toLocaleString()}`);
    // A newer server may know more than this page, which a browser may have kept open over an update.
    default: return say(sentence(event.type.replaceAll("_", " ")));
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const moodOf = (status) => ({ completed: "good", failed: "bad", expired: "bad" })[status] ?? "busy";

const joined = (parts) => parts.filter(Boolean).join(", ") || null;

const registered = ({ webhook, total }) => joined([
  total > 0 && `${number(total)} requests`,
  webhook ? `webhook to ${webhook.url}` : "without a webhook",
]);

const reported = ({ total, completed, failed, output_file_id, error_file_id, errors }) => joined([
  total !== undefined && `${number(total)} requests`,
  completed !== undefined && `${number(completed)} completed`,
  failed !== undefined && `${number(failed)} failed`,
  output_file_id && `output ${output_file_id}`,
  error_file_id && `errors ${error_file_id}`,
  errors && `errors: ${errors.map((error) => error.message).join("; ")}`,
]);

const ended = ({ status_code, error, duration_ms }) =>
  joined([error ?? (status_code && `answered ${status_code}`), duration_ms !== null && `after ${span(duration_ms)}`]);

const configured = ({ headers, rate_limit, retry_schedule }) => joined([
  headers && "headers of its own",
  rate_limit && `at most ${rate_limit} attempts in a second`,
  retry_schedule && `waits of ${retry_schedule.join(", ")} s`,
]);

// Every delivery as it stands after `events`, the beginning of a job's history; oldest first, in the API's form. This mirrors
// the server's own state machine, event for event.
export function deliveriesAfter(events) {
  const deliveries = new Map();
  let url = null;
  for (const event of events) {
    if (event.type === "job_registered") url = event.spec.webhook?.url ?? null;
    if (event.type === "delivery_scheduled") {
      deliveries.set(event.delivery_id, {
        id: event.delivery_id, event: event.event, url, status: "pending", created_at: event.at, delivered_at: null,
        max_attempts: event.max_attempts, timeout: event.timeout, next_attempt_at: event.at, dead_letter_id: null, attempts: [],
      });
    }
    const delivery = deliveries.get(event.delivery_id);
    if (delivery) evolve(delivery, event);
  }
  return [...deliveries.values()];
}

function evolve(delivery, event) {
  const { attempts } = delivery;
  const newest = attempts.at(-1);
  const to = (status, due = null) => Object.assign(delivery, { status, next_attempt_at: due });
  const end = () => Object.assign(newest, {
    duration_ms: event.duration_ms, status_code: event.status_code, error: event.error, response_excerpt: event.response_excerpt,
  });
  switch (event.type) {
    case "attempt_started":
      if (newest?.number === event.attempt) newest.started_at = event.at;
      else attempts.push({ number: event.attempt, started_at: event.at, interruptions: 0, duration_ms: null, status_code: null, error: null, response_excerpt: null });
      return to("in_flight");
    case "attempt_succeeded":
      end();
      delivery.delivered_at ??= event.at;
      return to("delivered");
    case "attempt_failed":
      end();
      newest.retry_at = event.retry_at;
      newest.ended_at = event.at;
      // A redelivery that fails takes nothing back.
      return delivery.delivered_at && !delivery.dead_letter_id ? to("delivered") : to("pending", event.retry_at ?? event.at);
    case "attempt_interrupted":
      newest.interruptions += 1;
      return to("pending", event.at);
    case "delivery_exhausted":
      delivery.dead_letter_id = event.dead_letter_id;
      return to(delivery.delivered_at ? "delivered" : "dead");
    case "delivery_superseded":
      return to("superseded");
    case "redelivery_requested":
      delivery.max_attempts = (newest?.number ?? 0) + 1;
      return to("pending", event.at);
    case "dead_letter_deleted":
      delivery.is_letter_deleted = true;
  }
}

// The names of the fields that differ between two states of a job, and what they were before.
export function differences(before, after) {
  const changed = new Map();
  for (const [name, value] of Object.entries(after)) {
    if (JSON.stringify(value) !== JSON.stringify(before?.[name] ?? null)) changed.set(name, before?.[name] ?? null);
  }
  return changed;
}

// Why an attempt after a failed one comes when it does. `schedule` is the webhook's own, in seconds, where it has one.
export function whyThen(attempt, schedule) {
  const wait = instant(attempt.retry_at) - instant(attempt.ended_at);
  const said = `${span(wait)} after attempt ${attempt.number} failed`;
  const named = schedule && schedule[Math.min(attempt.number, schedule.length) - 1] * 1000;
  // Up to a tenth is added, so that deliveries that failed together come back apart.
  const is = (length) => wait >= length && wait <= length * 1.1 + 1;
  if (named && is(named)) return `${said}: the webhook's own schedule says ${span(named)}, and up to a tenth more`;
  if ([429, 503].includes(attempt.status_code)) return `${said}: as the receiver asked with Retry-After, or the wait of the backoff`;
  return `${said}: waits double with each failure, from the configured first one, and up to a tenth more`;
}
