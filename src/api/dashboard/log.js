// The log itself, as it is written; or from any position on.

import { get, query } from "./api.js";
import { h, table } from "./dom.js";
import { number, time } from "./words.js";
import { describe } from "./events.js";

const PAGE = 100;
// Events that are kept on the page while it is live.
const KEPT = 500;

export const log = {
  title: "Log",

  async load({ query: { after } }, signal) {
    const start = after === undefined ? (await get("v1/log?limit=1&after=" + Number.MAX_SAFE_INTEGER, signal)).head - PAGE : Number(after);
    const feed = await get(`v1/log${query({ after: Math.max(0, start), limit: PAGE })}`, signal);
    return { events: feed.data, head: feed.head, isLive: after === undefined, isHeld: false, missed: 0 };
  },

  view(data, _, { redraw }) {
    const { events, head, isLive, isHeld, missed } = data;
    const first = events[0]?.seq ?? head + 1, last = events.at(-1)?.seq ?? head;
    const hold = () => { Object.assign(data, { isHeld: !isHeld, missed: 0 }); redraw(); };
    return [
      h("h1", null, "Log"),
      h("p", { class: "hint" }, "Every event, in the order in which it was made durable. Nothing here is ever changed; all that is shown elsewhere follows from it."),
      h("p", { class: "bulk" },
        isLive ? h("button", { type: "button", "aria-pressed": String(isHeld), onclick: hold }, isHeld ? "Go on" : "Hold") : h("a", { href: "#/log" }, "Newest, live"),
        first > 1 && h("a", { href: `#/log${query({ after: Math.max(0, first - 1 - PAGE) })}` }, "Older"),
        !isLive && last < head && h("a", { href: `#/log${query({ after: last })}` }, "Newer"),
        h("span", { class: "more" }, isHeld ? "Held: newer events are not shown." : `The log ends at position ${number(head)}.`)),
      missed > 0 && h("p", { class: "hint" }, `Events come faster than they can be read: ${number(missed)} were passed over here.`),
      events.length ? list(events) : h("p", { class: "card empty" }, head ? "There is no event after that position." : "Nothing was recorded yet. The first event is a job's registration: the overview says how to make one."),
    ];
  },

  // Takes news in without asking again; true when there is something new to show.
  take({ events, skipped, head, isResuming }, data) {
    if (!data.isLive || data.isHeld) return false;
    if (isResuming) return undefined;
    const last = data.events.at(-1)?.seq ?? 0;
    data.events = [...data.events, ...events.filter(({ seq }) => seq > last)].slice(-KEPT);
    data.missed += skipped;
    data.head = head;
    return events.length > 0 || skipped > 0;
  },

  concerns: () => false,
};

function list(events) {
  const columns = [["Position", "figure"], ["When"], ["Job"], ["What"], ["More"]];
  return table("Events, newest first", columns, events.toReversed().map((event) => {
    const { title, mood, detail } = describe(event);
    return { key: event.seq, cells: [
      number(event.seq), time(event.at, "clock"),
      h("a", { class: "id", href: `#/jobs/${encodeURIComponent(event.batch_id)}${query({ at: event.seq })}`, title: "How the job stood then" }, event.batch_id),
      h("span", { class: `said ${mood}` }, title), detail ?? "",
    ] };
  }));
}

