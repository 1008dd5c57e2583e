// The log's news, as they come: one long poll, and none while nobody looks.

import { Refusal, Unreachable, get, query } from "./api.js";

const WAIT = 25; // seconds
const PAGE = 100; // events
// So far behind, nobody reads what was missed: the newest are enough.
const FAR_BEHIND = 1000; // events
// A server that records thousands of events in a second is asked once in this time.
const PAUSE = 1000; // milliseconds
const READINESS = 5000; // milliseconds
const RETRIES = [1, 2, 4, 8, 15]; // seconds
// The last position that a number can name here.
const BEYOND = Number.MAX_SAFE_INTEGER;

const sleep = (millis, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, millis);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

const visible = () => new Promise((resolve) => {
  if (!document.hidden) return resolve();
  document.addEventListener("visibilitychange", resolve, { once: true });
});

// Follows the log until the page is closed.
//
// `onNews({events, skipped})` comes with every answer, also one without events; `skipped` is how many were passed over.
// `onState(state, detail)` says how it goes: "live", "hidden", "unreachable" (with the seconds until the next try), or
// "failing" (with what the server says of itself).
export async function follow({ onNews, onState }) {
  let position = null, failures = 0, readiness = 0, isReady = true, isResuming = true;
  for (;;) {
    if (document.hidden) {
      onState("hidden");
      isResuming = true;
    }
    await visible();
    const aborter = new AbortController();
    const hide = () => { if (document.hidden) aborter.abort(); };
    document.addEventListener("visibilitychange", hide);
    const began = Date.now();
    try {
      if (began - readiness > READINESS) {
        isReady = await whetherReady(onState, aborter.signal);
        readiness = began;
      }
      // The first answer comes at once: it says that the server is there.
      const wait = isResuming ? 0 : WAIT;
      const feed = await get(`v1/log${query({ after: position ?? BEYOND, limit: PAGE, wait })}`, aborter.signal);
      if (isReady) onState("live");
      // A log that ends before what was seen is another one.
      const isOther = position !== null && feed.head < position;
      let { data: events, last_seq: last, head } = feed, skipped = 0;
      if (position === null || isOther) [events, last] = [[], head];
      else if (head - last > FAR_BEHIND) [skipped, last] = [head - last, head];
      position = last;
      onNews({ events, skipped, head, isResuming: isResuming || isOther });
      [failures, isResuming] = [0, false];
      if (events.length) await sleep(PAUSE - (Date.now() - began), aborter.signal);
    } catch (error) {
      if (!aborter.signal.aborted) {
        if (error instanceof Refusal && error.status === 410) position = null;
        else if (!(error instanceof Unreachable || error instanceof Refusal)) throw error;
        isResuming = true;
        const seconds = RETRIES[Math.min(failures++, RETRIES.length - 1)];
        onState("unreachable", { seconds, why: error.message });
        await Promise.race([sleep(seconds * 1000, aborter.signal), new Promise((now) => addEventListener("online", now, { once: true }))]);
      }
    } finally {
      document.removeEventListener("visibilitychange", hide);
    }
  }
}

// Whether the server takes changes; when it does not, it says why.
async function whetherReady(onState, signal) {
  try {
    await get("ready", signal);
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    onState("failing", { why: error.message });
    return false;
  }
}
