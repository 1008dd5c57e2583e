// What interrupts: questions that need an answer, and notices that need none.

import { h } from "./dom.js";

// Opens a dialog. `build(close)` gives its content; the promise has what `close` was called with, or null.
function open(title, build, { isRequired = false } = {}) {
  const before = document.activeElement;
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": title });
    let result = null;
    const close = (value) => { result = value; dialog.close(); };
    dialog.append(h("h2", null, title), ...build(close));
    dialog.addEventListener("cancel", (event) => { if (isRequired) event.preventDefault(); });
    dialog.addEventListener("close", () => {
      // A required answer can't be evaded: browsers let a second Escape through.
      if (isRequired && result === null) return dialog.showModal();
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export async function confirm({ title, text, action, isDangerous = false }) {
  return await open(title, (close) => [
    ...[text].flat().map((line) => h("p", null, line)),
    h("div", { class: "actions" },
      h("button", { type: "button", autofocus: isDangerous, onclick: () => close(false) }, "Cancel"),
      h("button", { type: "button", class: isDangerous ? "danger" : "primary", autofocus: !isDangerous, onclick: () => close(true) }, action)),
  ]) === true;
}

export function askForKey(why) {
  return open("API key", (close) => {
    const input = h("input", { type: "password", id: "key", name: "key", required: true, autocomplete: "off", autofocus: true, spellcheck: "false" });
    const submit = (event) => {
      event.preventDefault();
      if (input.value.trim()) close(input.value.trim());
    };
    return [h("form", { onsubmit: submit },
      why && h("p", { class: "wrong", role: "alert" }, why),
      h("p", null, "This server wants an API key: one of those in its HOOKLEDGER_API_KEYS. It is kept for this tab only, until you close it."),
      h("label", { for: "key" }, "Key"), input,
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Continue")))];
  }, { isRequired: true });
}

export function help(shortcuts, areOn, turn) {
  return open("Keyboard shortcuts", (close) => [
    h("dl", { class: "shortcuts" }, shortcuts.map(([keys, what]) =>
      h("div", null, h("dt", null, keys.split(" ").map((each) => h("kbd", null, each))), h("dd", null, what)))),
    h("p", null, h("label", null, h("input", { type: "checkbox", checked: areOn, onchange: (event) => turn(event.target.checked) }), " Shortcuts are on")),
    h("div", { class: "actions" }, h("button", { type: "button", class: "primary", autofocus: true, onclick: () => close(true) }, "Close")),
  ]);
}

const STAYS = { good: 8000, bad: 60000 }; // milliseconds

// Says what came of something. Read out where that is wanted, and gone after a while, or when what is returned is called.
export function notice(text, isBad = false) {
  const element = h("p", { class: isBad ? "notice bad" : "notice" }, h("span", null, text),
    h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => element.remove() }, "×"));
  document.getElementById("notices").append(element);
  setTimeout(() => element.remove(), isBad ? STAYS.bad : STAYS.good);
  return () => element.remove();
}
