// One job: how it stands, or stood at any position of the log; every event, and every delivery with its attempts.

import { get, query } from "./api.js";
import { card, facts, h } from "./dom.js";
import { address, badge, count, number, span, time } from "./words.js";
import { deliveriesAfter, describe, differences } from "./events.js";
import { deliveryCard } from "./deliveries.js";
import { requests } from "./jobs.js";

const PAGE = 1000;
// Events that are read at most; a job has a handful, unless it reports its progress for days.
const MOST = 20000;
// Deliveries that are shown; one that reports its progress may have thousands.
const SHOWN = 25;
// Events around the position that are listed.
const LISTED = 200;

// What was read of the job on this page. What was is never any different, so it is read once.
let story = { id: null, events: [], batches: new Map(), isWhole: true };

export const job = {
  title: ({ id }) => `Job ${id}`,

  async load({ id, query: { at } }, signal) {
    if (story.id !== id) story = { id, events: [], batches: new Map(), isWhole: true };
    const mine = story, path = `v1/batches/${encodeURIComponent(id)}`;
    await readOn(mine, path, signal);
    const place = placeOf(mine.events, at);
    const isNow = at === undefined;
    const batchAt = async (index) => {
      const seq = mine.events[index]?.seq;
      if (seq === undefined) return null;
      if (!mine.batches.has(seq)) mine.batches.set(seq, await get(`${path}?at=${seq}`, signal));
      return mine.batches.get(seq);
    };
    const [batch, before, current] = await Promise.all([
      batchAt(place), batchAt(place - 1), isNow ? whatWaits(id, signal) : { waiting: new Map(), pauses: new Map() },
    ]);
    return { id, events: mine.events, isWhole: mine.isWhole, place, isNow, batch, before, ...current };
  },

  view(data, _, { go }) {
    const { id, events, place, isNow, isWhole } = data;
    const move = (to) => go(`jobs/${encodeURIComponent(id)}`, to >= events.length - 1 ? {} : { at: events[Math.max(0, to)].seq }, true);
    return [
      h("p", { class: "trail" }, h("a", { href: "#/jobs" }, "Jobs"), " /"),
      h("h1", null, h("span", { class: "id" }, id), " ", badge(data.batch.status)),
      !isWhole && h("p", { class: "hint" }, `This job has more than ${number(MOST)} events; the first ${number(events.length)} are shown.`),
      slider(data, move),
      h("div", { class: isNow ? "columns wide" : "columns wide past" },
        h("div", null,
          card("Deliveries", deliveries(data)),
          card("Fields", fields(data))),
        card("Timeline", timeline(events, place, move))),
    ];
  },

  // An input keeps what was done to it; the slider is to follow the page.
  shown(main, { events, place }) {
    const input = main.querySelector("#position");
    if (input && input.valueAsNumber !== place + 1) input.value = Math.min(place + 1, events.length);
  },

  concerns: (event, { id }) => event.batch_id === id,
};

async function readOn(mine, path, signal) {
  while (mine.events.length < MOST) {
    const page = await get(`${path}/history${query({ after: mine.events.at(-1)?.seq ?? 0, limit: PAGE })}`, signal);
    // Another look at the same job may have come first.
    const last = mine.events.at(-1)?.seq ?? 0;
    mine.events.push(...page.data.filter(({ seq }) => seq > last));
    mine.isWhole = !page.has_more;
    if (!page.has_more) return;
  }
}

// The index of the newest event at or before position `at`.
function placeOf(events, at) {
  if (at === undefined) return events.length - 1;
  return Math.max(0, events.findLastIndex(({ seq }) => seq <= Number(at)));
}

// What each pending delivery waits for, and until when destinations are paused.
async function whatWaits(id, signal) {
  const { data } = await get(`v1/webhooks/deliveries${query({ batch_id: id, limit: 100 })}`, signal);
  const waiting = new Map(data.map((delivery) => [delivery.id, delivery.waiting]));
  const pauses = new Map();
  if (data.some((delivery) => delivery.waiting === "destination paused")) {
    const stats = await get("v1/webhooks/stats", signal);
    for (const now of stats.data.flatMap((host) => host.now ?? [])) pauses.set(now.destination, now.paused_until);
  }
  return { waiting, pauses };
}

function slider({ events, place, isNow }, move) {
  const event = events[place];
  const { title, detail } = describe(event);
  const said = `Event ${number(place + 1)} of ${number(events.length)}, position ${number(event.seq)} of the log: ${title}`;
  const button = (name, shortcut, to, isOff) =>
    h("button", { type: "button", "data-shortcut": shortcut, title: `Shortcut: ${shortcut}`, disabled: isOff, onclick: () => move(to) }, name);
  return h("section", { class: isNow ? "card slider" : "card slider past", "aria-label": "Time", key: "slider" },
    h("div", { class: "steps" },
      button("‹ Earlier", "[", place - 1, place === 0),
      h("input", {
        type: "range", id: "position", min: 1, max: events.length, step: 1, value: place + 1, disabled: events.length < 2,
        "aria-label": "Position in the job's history", "aria-valuetext": said,
        oninput: (input) => move(input.target.valueAsNumber - 1),
      }),
      button("Later ›", "]", place + 1, place === events.length - 1),
      button("Now", "n", events.length - 1, isNow)),
    h("p", { class: "here" },
      isNow ? h("strong", null, "As it is now. ") : h("strong", null, "As it was ", time(event.at), ". "),
      h("span", null, said, detail ? ` (${detail})` : "", "."),
      isNow && " Move the slider to see how the job stood at any event before."));
}

function deliveries({ events, place, isNow, waiting, pauses }) {
  const known = deliveriesAfter(events.slice(0, place + 1)).reverse();
  const spec = events[0].spec ?? {};
  if (!known.length) {
    return h("p", { class: "hint" }, spec.webhook
      ? `Nothing was to be told yet${isNow ? "" : " at this position"}. The webhook hears of: ${(spec.webhook.events ?? ["completed", "failed", "cancelled", "expired"]).join(", ")}.`
      : "This job has no webhook.");
  }
  const options = events.find(({ type }) => type === "webhook_configured");
  const isSigned = spec.webhook?.signed || events.slice(0, place + 1).some(({ type }) => type === "secret_rotated");
  const webhook = { signed: Boolean(isSigned), headers: options?.headers, schedule: options?.retry_schedule };
  const isHere = ({ id }) => !isNow && id === events[place].delivery_id;
  const shown = known.filter((delivery, index) => index < SHOWN || isHere(delivery));
  return [
    shown.map((delivery) => deliveryCard(delivery, {
      webhook, isNow, waiting: waiting.get(delivery.id), pausedUntil: pauseOf(delivery.url, pauses), isChanged: isHere(delivery),
    })),
    known.length > shown.length && h("p", { class: "hint" }, `${count(known.length - shown.length, "older delivery", "older deliveries")}: the slider shows each at its time.`),
  ];
}

function pauseOf(url, pauses) {
  if (!url || !pauses.size) return null;
  const { protocol, hostname, port } = new URL(url);
  return pauses.get(`${protocol}//${hostname}:${port || (protocol === "https:" ? 443 : 80)}`) ?? null;
}

const FIELDS = [
  ["status", "Status", (value) => badge(value)],
  ["request_counts", "Requests", (value) => requests(value)],
  ["created_at", "Registered", (value) => time(value)],
  ["in_progress_at", "In progress since", (value) => time(value)],
  ["finalizing_at", "Finalizing since", (value) => time(value)],
  ["completed_at", "Completed", (value) => time(value)],
  ["failed_at", "Failed", (value) => time(value)],
  ["cancelling_at", "Cancelling since", (value) => time(value)],
  ["cancelled_at", "Cancelled", (value) => time(value)],
  ["expired_at", "Expired", (value) => time(value)],
  ["expires_at", "Expires if not done by", (value) => time(value)],
  ["errors", "Errors", (value) => h("ul", null, value.data.map((error) => h("li", null, [error.code, error.message].filter(Boolean).join(": "))))],
  ["output_file_id", "Output file"],
  ["error_file_id", "Error file"],
  ["input_file_id", "Input file"],
  ["endpoint", "Endpoint"],
  ["completion_window", "Completion window"],
  ["priority", "Priority"],
  ["output_expires_after", "Output kept for", (value) => span(value.seconds * 1000)],
  ["metadata", "Metadata", (value) => facts(Object.entries(value))],
  ["webhook_url", "Webhook", (value) => address(value)],
  ["webhook_status", "Webhook's status", (value) => badge(value)],
  ["webhook_attempts", "Webhook's attempts"],
  ["webhook_error", "Webhook's error"],
  ["webhook_last_attempt", "Webhook's last attempt", (value) => time(value)],
];

function fields({ batch, before, isNow }) {
  const changed = isNow ? new Map() : differences(before, batch);
  const shown = FIELDS.filter(([name]) => batch[name] !== null && batch[name] !== undefined || changed.has(name));
  return facts(shown.map(([name, label, say = String]) => {
    const said = (value) => (value === null || value === undefined ? "–" : say(value));
    const isChanged = before !== null && changed.has(name);
    return [label, isChanged
      ? [said(batch[name]), h("span", { class: "mark" }, "changed"), h("span", { class: "more" }, "was ", said(changed.get(name)))]
      : said(batch[name]), isChanged && "changed"];
  }));
}

function timeline(events, place, move) {
  const from = Math.max(0, Math.min(place - LISTED / 2, events.length - LISTED)), to = Math.min(events.length, from + LISTED);
  const many = new Set(events.map((event) => event.delivery_id).filter(Boolean)).size > 1;
  const left = (some, which) => some > 0 && h("p", { class: "hint" }, `${count(some, `${which} event`)}: move the slider to get there.`);
  return [
    left(from, "earlier"),
    h("ol", { class: "timeline", start: from + 1 }, events.slice(from, to).map((event, index) => entry(event, from + index, place, many, move))),
    left(events.length - to, "later"),
  ];
}

function entry(event, index, place, many, move) {
  const { title, mood, detail } = describe(event);
  const when = index === place ? "here" : index > place ? "later" : "";
  return h("li", { class: `${mood} ${when}`, key: `e${event.seq}`, "aria-current": index === place && "step" },
    h("button", { type: "button", class: "event", onclick: () => move(index), title: `Position ${event.seq}: see how the job stood then` },
      h("strong", null, title),
      many && event.delivery_id && h("span", { class: "more id" }, ` …${event.delivery_id.slice(-6)}`)),
    detail && h("span", { class: "detail" }, detail),
    h("span", { class: "more" }, time(event.at, "clock"), ` · position ${number(event.seq)}`));
}

