// Asking the server. The key, where one is needed, is kept for this tab alone.

import { askForKey } from "./dialogs.js";

const KEY = "hookledger-key";

// An answer that is an error: `status` and `code` are the API's, the message is for a person.
export class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

// There was no answer.
export class Unreachable extends Error {}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

// What asks for the key at the moment, so that many requests ask once.
let asking = null;

async function askOnce(why) {
  asking ??= askForKey(why).then(key.set).finally(() => { asking = null; });
  await asking;
}

async function send(method, path, body, signal) {
  for (;;) {
    const used = key.get();
    const headers = {};
    if (used) headers.Authorization = `Bearer ${used}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response, text;
    try {
      // Relative, so that a proxy may have all of this below a path of its own.
      response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
      text = await response.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable("The server can't be reached.");
    }
    if (response.ok) return response.headers.get("Content-Type") === "application/json" ? JSON.parse(text) : text;
    if (response.status !== 401) throw refusal(response, text);
    // Somebody may have given another key meanwhile.
    if (key.get() === used) await askOnce(used ? "The server does not take this key." : null);
    signal?.throwIfAborted();
  }
}

function refusal(response, text) {
  try {
    const { message, code } = JSON.parse(text).error;
    return new Refusal(response.status, code, message);
  } catch {
    // A proxy in between has said something of its own.
    return new Refusal(response.status, "unknown", `The server answered ${response.status}.`);
  }
}

export const get = (path, signal) => send("GET", path, undefined, signal);
export const post = (path, body) => send("POST", path, body);
export const remove = (path) => send("DELETE", path);

// A query without what is empty.
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// Prometheus' text form, as a map from `name{labels}` to numbers.
export async function metrics(signal) {
  const lines = (await get("metrics", signal)).split("\n").filter((line) => line && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const end = line.lastIndexOf(" ");
    return [line.slice(0, end), Number(line.slice(end + 1))];
  }));
}
