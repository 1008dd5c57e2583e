// Elements. Text becomes text nodes, never markup: what is shown was written by strangers.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "rect", "line", "circle", "text", "title", "polyline"]);

// Makes an element. `props` are attributes; those that begin with "on" are handlers, `key` tells rows of a list apart, and
// false, null and undefined leave one out. Children are nodes, text, numbers, or lists of them.
export function h(tag, props, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "key") element.setAttribute("data-key", value);
    else if (name === "value") element.value = value;
    else if (name === "checked") element.checked = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}

// Makes `wanted` the children of `parent`. What is there already and means the same stays where it is, so that focus,
// selection, scrolling and what was typed outlast an update.
export function show(parent, ...wanted) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let place = parent.firstChild;
  for (const given of nodes(wanted)) {
    const node = given instanceof Node ? given : document.createTextNode(given);
    const key = node.dataset?.key;
    const known = key ? keyed.get(key) : place?.dataset?.key ? null : place;
    if (!known || known.nodeName !== node.nodeName) {
      parent.insertBefore(node, place);
    } else {
      if (known === place) place = place.nextSibling;
      else parent.insertBefore(known, place);
      become(known, node);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

const HANDLERS = ["onclick", "onsubmit", "onchange", "oninput", "onpointermove", "onpointerleave", "onkeydown"];

// Makes `known` say what `node` says. What a person typed or opened is left alone.
function become(known, node) {
  if (known.nodeType !== Node.ELEMENT_NODE) {
    if (known.data !== node.data) known.data = node.data;
    return;
  }
  for (const { name } of [...known.attributes]) {
    if (!node.hasAttribute(name) && name !== "open") known.removeAttribute(name);
  }
  for (const { name, value } of node.attributes) {
    if (known.getAttribute(name) !== value) known.setAttribute(name, value);
  }
  for (const name of HANDLERS) if (known[name] !== node[name]) known[name] = node[name];
  show(known, ...node.childNodes);
}

// A table in words: `columns` are [heading, class], `rows` lists of cells with a key.
export function table(caption, columns, rows) {
  const heading = ([name, kind]) => h("th", { scope: "col", class: kind, role: "columnheader" }, name);
  const cell = (content, place) => {
    const [name, kind] = columns[place];
    return h("td", { "data-label": name, class: kind, role: "cell" }, h("div", null, content));
  };
  return h("div", { class: "scroll" },
    h("table", { role: "table" },
      h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(heading))),
      h("tbody", { role: "rowgroup" },
        rows.map((row) => h("tr", { key: row.key, class: row.class, role: "row" }, row.cells.map(cell))))));
}

// A list of names and what they stand for; entries that are null are left out.
export function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(Boolean).map(([name, content, kind]) =>
    h("div", { class: kind, key: name }, h("dt", null, name), h("dd", null, content))));
}

export function card(title, ...content) {
  return h("section", { class: "card", key: title, "aria-label": title }, h("h2", null, title), content);
}
