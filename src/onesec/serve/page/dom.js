// Elements of the page. Text goes in as text: nothing here reads a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element; children are elements or texts. */
export function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** The element of that id. */
export const byId = (id) => document.getElementById(id);

/** What is kept in this browser, or in this tab; where a browser keeps nothing, nothing. */
export function kept(store, name) {
  try {
    return store().getItem(`onesec.${name}`);
  } catch {
    return null;
  }
}

/** Keep a text, or with null forget it. */
export function keep(store, name, value) {
  try {
    if (value === null) store().removeItem(`onesec.${name}`);
    else store().setItem(`onesec.${name}`, value);
  } catch {
    // A browser that keeps nothing serves as well.
  }
}

export const browser = () => window.localStorage;
export const tab = () => window.sessionStorage;
