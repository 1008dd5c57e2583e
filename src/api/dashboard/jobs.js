// The list of jobs: newest first, by status, or those whose ids begin with what is searched for.

import { Refusal, get, query } from "./api.js";
import { h, table } from "./dom.js";
import { address, badge, jobLink, number, time } from "./words.js";

const STATUSES = ["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"];
const PAGE = 25;
const ID = /^[A-Za-z0-9_-]{1,64}$/;
const DELIVERY = /^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$/;

export const jobs = {
  title: "Jobs",

  async load({ query: { prefix, status, after } }, signal) {
    if (prefix && !ID.test(prefix)) return { page: { data: [], has_more: false }, isNoId: true };
    const [page, delivery] = await Promise.all([
      get(`v1/batches${query({ prefix, status, after, limit: PAGE })}`, signal),
      DELIVERY.test(prefix ?? "") ? get(`v1/webhooks/deliveries/${prefix}`, signal).catch(unlessMissing) : null,
    ]);
    return { page, delivery };
  },

  view({ page, delivery, isNoId }, place, { go }) {
    const { prefix, status, after } = place.query;
    return [
      h("h1", null, "Jobs"),
      h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
        h("label", null, "Id begins with",
          h("input", { type: "search", name: "prefix", value: prefix ?? "", autocomplete: "off", spellcheck: "false", maxlength: 64,
            placeholder: "a job's id, or a delivery's", "data-shortcut": "/", oninput: (event) => go("jobs", { prefix: event.target.value.trim(), status }, true) })),
        h("label", null, "Status",
          h("select", { name: "status", onchange: (event) => go("jobs", { prefix, status: event.target.value }) },
            h("option", { value: "" }, "all"),
            STATUSES.map((each) => h("option", { value: each, selected: each === status }, each.replace("_", " ")))))),
      delivery && h("p", { class: "card" }, "The delivery ", h("span", { class: "id" }, delivery.id), " belongs to job ", jobLink(delivery.batch_id), "."),
      page.data.length ? list(page.data, Boolean(prefix)) : empty({ prefix, status, after, isNoId }),
      h("p", { class: "paging" },
        after && h("a", { href: `#/jobs${query({ prefix, status })}` }, prefix ? "First page" : "Newest"),
        page.has_more && h("a", { href: `#/jobs${query({ prefix, status, after: page.last_id })}` }, prefix ? "Next page" : "Older")),
    ];
  },

  concerns: () => true,
};

function unlessMissing(error) {
  if (error instanceof Refusal && error.status === 404) return null;
  throw error;
}

function list(batches, isById) {
  const columns = [["Job"], ["Status"], ["Requests", "figure"], ["Webhook"], ["Where to"], ["Registered", "short"]];
  return table(isById ? "Jobs by id" : "Jobs, newest first", columns, batches.map((batch) => ({
    key: batch.id,
    cells: [jobLink(batch.id), badge(batch.status), requests(batch.request_counts), webhook(batch),
      batch.webhook_url ? address(batch.webhook_url) : "–", time(batch.created_at, "relative")],
  })));
}

export function requests({ total, completed, failed }) {
  if (!total && !completed && !failed) return "–";
  return `${number(completed)} of ${number(total)}${failed ? `, ${number(failed)} failed` : ""}`;
}

function webhook({ webhook_url: url, webhook_status: status, webhook_attempts: attempts, webhook_error: error }) {
  if (!url) return h("span", { class: "more" }, "none");
  if (!status) return h("span", { class: "more" }, "nothing to tell yet");
  return [badge(status), h("span", { class: "more", title: error }, attempts > 1 && `${attempts} attempts`, error && ` ${error}`)];
}

function empty({ prefix, status, after, isNoId }) {
  if (isNoId) return h("p", { class: "card empty" }, "No id begins like that: ids consist of letters, digits, “-” and “_”.");
  if (after) return h("p", { class: "card empty" }, "That was the last page.");
  if (prefix) return h("p", { class: "card empty" }, `No job${status ? ` that is ${status.replace("_", " ")}` : ""} has an id that begins with “${prefix}”. Case matters.`);
  if (status) return h("p", { class: "card empty" }, `No job is ${status.replace("_", " ")}.`);
  return h("p", { class: "card empty" }, "No job was registered yet. The ", h("a", { href: "#/" }, "overview"), " says how to register one.");
}
