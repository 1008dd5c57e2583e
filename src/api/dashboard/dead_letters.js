// Dead letters: deliveries that were given up. Finding them, seeing what was to be said, and sending or deleting it.

import { Refusal, get, post, query, remove } from "./api.js";
import { card, facts, h, table } from "./dom.js";
import { address, badge, count, jobLink, number, time } from "./words.js";
import { attemptList } from "./deliveries.js";
import { confirm, notice } from "./dialogs.js";

const PAGE = 50;
const EVENTS = ["completed", "failed", "progress", "cancelled", "expired"];
const PATH = "v1/webhooks/dead-letter";

// Which are shown, in the page's address; those that are unresolved unless it says otherwise.
function filterOf({ batch_id, event, url, state, since, until }) {
  const resolved = { all: undefined, resolved: true }[state ?? ""] ?? (state === "all" ? undefined : false);
  const instant = (local) => (local ? new Date(local).toISOString() : undefined);
  return { batch_id, event, url, resolved, since: instant(since), until: instant(until) };
}

export const deadLetters = {
  title: "Dead letters",

  load: (place, signal) => get(`${PATH}${query({ ...filterOf(place.query), limit: PAGE, offset: place.query.offset })}`, signal),

  view(page, place, context) {
    const { query: chosen } = place;
    const offset = Number(chosen.offset ?? 0);
    const at = (to) => `#/dead-letters${query({ ...chosen, offset: to || undefined })}`;
    return [
      h("h1", null, "Dead letters"),
      h("p", { class: "hint" }, "A delivery whose last attempt failed. Retry it when the cause is gone: the receiver gets the very same bytes, under the same id. Delete it when nobody will want it any more."),
      filters(chosen, context),
      bulk(page, filterOf(chosen), context),
      page.data.length ? list(page.data, context) : empty(chosen),
      h("p", { class: "paging" },
        offset > 0 && h("a", { href: at(Math.max(0, offset - PAGE)) }, "Newer"),
        page.has_more && h("a", { href: at(offset + PAGE) }, "Older")),
    ];
  },

  concerns: (event) => event.delivery_id !== undefined,
};

function filters(chosen, { go }) {
  const set = (name) => (event) => go("dead-letters", { ...chosen, offset: undefined, [name]: event.target.value.trim() });
  const text = (name, label, more = {}) => h("label", null, label, h("input", { name, value: chosen[name] ?? "", onchange: set(name), autocomplete: "off", spellcheck: "false", ...more }));
  const option = (value, said, current) => h("option", { value, selected: value === current }, said);
  return h("form", { class: "filters", role: "search", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
    h("label", null, "State", h("select", { name: "state", onchange: set("state") },
      option("", "unresolved", chosen.state ?? ""), option("resolved", "resolved by a retry", chosen.state), option("all", "all", chosen.state))),
    h("label", null, "Event", h("select", { name: "event", onchange: set("event") },
      option("", "all", chosen.event ?? ""), EVENTS.map((event) => option(event, event, chosen.event)))),
    text("batch_id", "Job", { type: "search", pattern: "[A-Za-z0-9_\\-]{1,64}", placeholder: "its whole id", "data-shortcut": "/" }),
    text("url", "URL", { type: "search", placeholder: "the whole URL" }),
    text("since", "Given up since", { type: "datetime-local" }),
    text("until", "and before", { type: "datetime-local" }));
}

// What can be done with all that match, and only after their number was said.
function bulk(page, filter, { reload }) {
  if (!page.total) return null;
  const isAnything = Object.values(filter).some((value) => value !== undefined);
  if (!isAnything) return h("p", { class: "bulk" }, `${count(page.total, "dead letter")}. Choose some of them with the filter to retry or delete them all at once.`);
  return h("p", { class: "bulk" }, h("strong", null, `${count(page.total, "dead letter")} ${page.total === 1 ? "matches" : "match"}.`), " ",
    h("button", { type: "button", onclick: () => attempt(() => retryAll(filter), reload) }, "Retry all that match…"), " ",
    h("button", { type: "button", class: "danger", onclick: () => attempt(() => deleteAll(filter), reload) }, "Delete all that match…"));
}

async function retryAll(filter) {
  const { matched, queued, skipped } = await post(`${PATH}/retry`, { ...filter, dry_run: true });
  if (!queued) return notice(`Of ${count(matched, "dead letter")} none can be retried: they were delivered meanwhile, or are on their way.`);
  const isMeant = await confirm({
    title: `Retry ${count(queued, "dead letter")}?`, action: `Retry ${number(queued)}`,
    text: [`${number(matched)} match${skipped ? `; ${number(skipped)} of them are passed over, as they were delivered meanwhile or are on their way` : ""}.`,
      "Each gets one more attempt, as fast as its destination allows. What fails again stays here."],
  });
  if (!isMeant) return;
  const done = await post(`${PATH}/retry`, filter);
  notice(`${count(done.queued, "dead letter")} on their way again.`);
}

async function deleteAll(filter) {
  const { deleted: matched } = await post(`${PATH}/purge`, { ...filter, dry_run: true });
  if (!matched) return notice("None matches any more.");
  const isMeant = await confirm({
    title: `Delete ${count(matched, "dead letter")}?`, action: `Delete ${number(matched)}`, isDangerous: true,
    text: "They can't be retried from here after that. The jobs' histories keep what happened.",
  });
  if (!isMeant) return;
  const { deleted } = await post(`${PATH}/purge`, filter);
  notice(`${count(deleted, "dead letter")} deleted.`);
}

async function retry(letter) {
  const done = notice(`Retrying dead letter ${letter.id} …`);
  try {
    said(await post(`${PATH}/${letter.id}/retry`));
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== "already_retried") throw error;
    const isMeant = await confirm({
      title: "Send it again?", action: "Send it again",
      text: "A retry has delivered this dead letter already. The receiver gets the same bytes under the same id once more.",
    });
    if (isMeant) said(await post(`${PATH}/${letter.id}/retry?force=true`));
  } finally {
    done();
  }
}

function said({ id, retry_success: isDelivered }) {
  if (isDelivered === null) notice(`The retry of dead letter ${id} was begun; its end is not known yet.`);
  else if (isDelivered) notice(`Dead letter ${id} was delivered.`);
  else notice(`The retry of dead letter ${id} has failed. Its page says why.`, true);
}

async function discard(letter) {
  const isMeant = await confirm({
    title: `Delete dead letter ${letter.id}?`, action: "Delete", isDangerous: true,
    text: `It tells job ${letter.batch_id}'s webhook “${letter.event}”, and can't be retried from here after that. The job's history keeps what happened.`,
  });
  if (!isMeant) return;
  await remove(`${PATH}/${letter.id}`);
  notice(`Dead letter ${letter.id} deleted.`);
  return true;
}

// Does it, and says why when that was refused.
async function attempt(what, after) {
  try {
    return await what();
  } catch (error) {
    notice(error.message, true);
  } finally {
    after();
  }
}

function list(letters, { reload }) {
  const columns = [["Dead letter"], ["Job"], ["Event"], ["Where to"], ["Why", "why"], ["Attempts", "figure"], ["Given up", "short"], ["State"], ["What to do"]];
  return table("Dead letters, newest first", columns, letters.map((letter) => ({
    key: letter.id,
    cells: [
      h("a", { href: `#/dead-letters/${letter.id}` }, `no. ${letter.id}`), jobLink(letter.batch_id), letter.event, address(letter.webhook_url),
      letter.error_message, number(letter.attempts), time(letter.created_at, "relative"), state(letter),
      h("span", { class: "actions" },
        h("button", { type: "button", "aria-label": `Retry dead letter ${letter.id}`, onclick: () => attempt(() => retry(letter), reload) }, "Retry"),
        h("button", { type: "button", class: "danger", "aria-label": `Delete dead letter ${letter.id}`, onclick: () => attempt(() => discard(letter), reload) }, "Delete")),
    ],
  })));
}

function state({ retry_success: isDelivered, retried_at: at }) {
  if (isDelivered) return [badge("delivered", "resolved"), at && h("span", { class: "more" }, time(at, "relative"))];
  return [badge("unresolved"), at && h("span", { class: "more" }, "retried ", time(at, "relative"))];
}

function empty({ offset, state: chosen, ...rest }) {
  if (offset) return h("p", { class: "card empty" }, "That was the last page.");
  if (Object.values(rest).some(Boolean)) return h("p", { class: "card empty" }, "No dead letter matches the filter.");
  if (chosen) return h("p", { class: "card empty" }, "There is none.");
  return h("p", { class: "card empty" }, "No dead letter is unresolved. A delivery comes here when its last attempt has failed.");
}

export const deadLetter = {
  title: ({ id }) => `Dead letter ${id}`,

  async load({ id }, signal) {
    const letter = await get(`${PATH}/${encodeURIComponent(id)}`, signal);
    return letter;
  },

  view(letter, _, { reload, go }) {
    const remains = () => attempt(() => discard(letter), () => {}).then((isGone) => isGone && go("dead-letters"));
    return [
      h("p", { class: "trail" }, h("a", { href: "#/dead-letters" }, "Dead letters"), " /"),
      h("h1", null, `Dead letter ${letter.id} `, state(letter)),
      h("p", { class: "actions start" },
        h("button", { type: "button", class: "primary", "data-shortcut": "r", title: "Shortcut: r", onclick: () => attempt(() => retry(letter), reload) }, letter.retry_success ? "Send it again…" : "Retry"),
        h("button", { type: "button", class: "danger", onclick: remains }, "Delete…")),
      h("div", { class: "columns wide" },
        h("div", null,
          card("What it is", facts([
            ["Job", jobLink(letter.batch_id)],
            ["Event", letter.event],
            ["Where to", address(letter.webhook_url)],
            ["Why", letter.error_message],
            ["Attempts", number(letter.attempts)],
            ["Last attempt", time(letter.last_attempt_at)],
            ["Given up", time(letter.created_at)],
            letter.retried_at && ["Retried", time(letter.retried_at)],
            ["Delivery", h("span", { class: "id" }, letter.delivery_id)],
          ])),
          card("Attempts", attemptList({ id: letter.delivery_id, event: letter.event, url: letter.webhook_url, attempts: letter.attempt_history }, {}))),
        card("Payload", payload(letter.payload))),
    ];
  },

  concerns: (event, { delivery_id: id }) => event.delivery_id === id,
};

function payload(text) {
  if (text === null) return h("p", { class: "hint" }, "It was erased.");
  return [
    h("pre", { class: "payload", tabindex: 0, "aria-label": "The payload, indented" }, indented(text)),
    h("details", null, h("summary", null, "The exact bytes that are sent and signed"), h("pre", { class: "payload", tabindex: 0 }, text)),
  ];
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
