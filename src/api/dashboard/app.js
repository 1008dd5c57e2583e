// The page as a whole: which part of it is shown, and that it is shown anew when there is news.

import { Refusal, Unreachable, get, key, query } from "./api.js";
import { h, show } from "./dom.js";
import { help, notice } from "./dialogs.js";
import { follow } from "./live.js";
import { count, number, tick } from "./words.js";
import { deadLetter, deadLetters } from "./dead_letters.js";
import { destinations } from "./destinations.js";
import { job } from "./job.js";
import { jobs } from "./jobs.js";
import { log } from "./log.js";
import { overview } from "./overview.js";

// A page is `title`, `load(place, signal)`, which gives its data, and `view(data, place, context)`, which gives its nodes;
// `concerns(event, data)` says whether an event makes the data old, `take(news, data)` takes news in by itself, and
// `shown(main, data)` comes after the nodes.
const PAGES = { overview, jobs, "dead-letters": deadLetters, destinations, log };
const SINGLE = { jobs: job, "dead-letters": deadLetter };

// The same page is not asked for anew more often than that.
const REFRESH = 2000; // milliseconds

const main = document.getElementById("main");

// What is shown: the page, its place and data; `aborter` ends what it still waits for.
let current = { page: null, place: null, data: null, aborter: new AbortController() };

function parse(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/").map(decode);
  return { name: name || "overview", id: id || undefined, query: Object.fromEntries(new URLSearchParams(search)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// Goes to a page; with `isReplacing` without a step in the browser's history, for what changes with every key or movement.
function go(path, parameters = {}, isReplacing = false) {
  const hash = `#/${path}${query(parameters)}`;
  if (isReplacing) {
    history.replaceState(null, "", hash);
    visit();
  } else {
    location.hash = hash;
  }
}

const context = { go, reload: () => load(), redraw: () => draw() };

// Shows what the address says.
function visit() {
  const place = parse(location.hash);
  const page = (place.id !== undefined ? SINGLE : PAGES)[place.name];
  const isOther = page !== current.page || place.id !== current.place?.id;
  current.aborter.abort();
  current = { page, place, data: isOther ? null : current.data, aborter: new AbortController() };
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === place.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!page) {
    title("Not found");
    return show(main, h("h1", null, "There is no such page"), h("p", null, h("a", { href: "#/" }, "Overview")));
  }
  title(typeof page.title === "function" ? page.title(place) : page.title);
  // From one page to another focus goes along; what was focused is gone.
  if (isOther) {
    main.replaceChildren(h("p", { class: "loading" }, "Loading…"));
    if (document.activeElement !== document.body) main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  load();
}

const title = (text) => { document.title = `${text} · hookledger`; };

async function load() {
  const { page, place, aborter } = current;
  if (!page) return;
  asked = Date.now();
  try {
    const data = await page.load(place, aborter.signal);
    if (aborter.signal.aborted) return;
    current.data = data;
    draw();
  } catch (error) {
    if (aborter.signal.aborted) return;
    // What is shown stays; above it is said that it may be old.
    if (error instanceof Unreachable) return;
    if (!(error instanceof Refusal)) throw error;
    current.data = null;
    show(main, h("h1", null, error.status === 404 ? "Not there" : "That did not work"), h("p", { class: "card" }, error.message),
      h("p", null, h("a", { href: `#/${place.name}` }, "Back")));
  }
}

function draw() {
  const { page, place, data } = current;
  if (data === null) return;
  show(main, ...page.view(data, place, context));
  page.shown?.(main, data);
  const button = document.getElementById("forget");
  button.hidden = !key.get();
}

// News, gathered until it is time to ask anew.
let asked = 0, waiting = null;

function refresh() {
  waiting ??= setTimeout(() => { waiting = null; load(); }, Math.max(0, asked + REFRESH - Date.now()));
}

function onNews(news) {
  const { page, data } = current;
  const { events, skipped, isResuming } = news;
  if (page && data) {
    const isTaken = page.take?.(news, data);
    if (isTaken) draw();
    else if (isTaken === undefined && (isResuming || skipped || !events.length || events.some((event) => page.concerns(event, data)))) refresh();
  } else if (isResuming && !data) {
    load();
  }
  const LETTERS = ["delivery_exhausted", "dead_letter_deleted", "attempt_succeeded"];
  if (isResuming || skipped || events.some(({ type }) => LETTERS.includes(type))) letters();
}

// The number of dead letters that wait for somebody, beside the page's name.
async function letters() {
  const { total } = await get(`v1/webhooks/dead-letter${query({ resolved: false, limit: 1 })}`).catch(() => ({ total: 0 }));
  show(document.querySelector('nav a[data-page="dead-letters"]'), "Dead letters", total > 0 && h("span", { class: "count", "aria-label": `${total} unresolved` }, number(total)));
}

function onState(state, { seconds, why } = {}) {
  const said = { live: "live", hidden: "paused", unreachable: "not connected", failing: "no changes" }[state];
  const connection = document.getElementById("connection");
  connection.className = `connection ${state}`;
  show(connection, said);
  const banner = document.getElementById("banner");
  const wasBad = banner.childElementCount > 0;
  if (state === "unreachable") show(banner, h("p", { class: "banner" }, `${why} What is shown may be old. Trying again in ${count(seconds, "second")}.`));
  else if (state === "failing") show(banner, h("p", { class: "banner" }, `The server takes no changes at the moment: ${why}`));
  else show(banner);
  if (state === "live" && wasBad) notice("Connected again.");
}

const SHORTCUTS = [
  ["g o", "Overview"], ["g j", "Jobs"], ["g d", "Dead letters"], ["g t", "Destinations"], ["g l", "Log"],
  ["/", "Search or filter"], ["[", "A job's earlier event"], ["]", "A job's later event"], ["n", "A job as it is now"],
  ["r", "Retry the dead letter that is shown"], ["?", "This list"],
];
const GO = { o: "", j: "jobs", d: "dead-letters", t: "destinations", l: "log" };
const OFF = "hookledger-shortcuts-off";

const areShortcutsOn = () => !localStorage.getItem(OFF);
const turnShortcuts = (on) => (on ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1"));

let isGoing = false;

function onKey(event) {
  const isTyping = event.target.closest?.("input:not([type=range]), select, textarea, dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !areShortcutsOn()) return;
  const pressed = event.key;
  if (isGoing) {
    isGoing = false;
    if (pressed in GO) go(GO[pressed]);
    return;
  }
  if (pressed === "g") isGoing = true;
  else if (pressed === "?") openHelp();
  else {
    const element = document.querySelector(`[data-shortcut="${CSS.escape(pressed)}"]:not(:disabled)`);
    if (!element) return;
    element.focus();
    if (element.tagName === "BUTTON") element.click();
  }
  event.preventDefault();
}

const openHelp = () => help(SHORTCUTS, areShortcutsOn(), turnShortcuts);

document.getElementById("help").onclick = openHelp;
document.getElementById("skip").onclick = () => main.focus();
document.getElementById("forget").onclick = () => { key.forget(); location.reload(); };
addEventListener("keydown", onKey);
addEventListener("hashchange", visit);
setInterval(() => { if (!document.hidden) tick(); }, 1000);
// A fault of this page itself: better said than hidden.
addEventListener("unhandledrejection", ({ reason }) => {
  show(document.getElementById("banner"), h("p", { class: "banner" }, `This page has a fault: ${reason?.message ?? reason}. Reload it.`));
});
visit();
follow({ onNews, onState });
