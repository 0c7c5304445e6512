// What is asked of every answer beside its deadline: what the time is for, and what tints the tokens.

import { browser, byId, el, keep, kept } from "./dom.js";
import { tell } from "./say.js";

const CHOICES = { policy: ["quality", "balanced", "fastest"], tint: ["none", "gear", "confidence"] };
const chosen = { policy: "balanced", tint: "gear" };

/** {policy, tint}, as they are chosen now. */
export const settings = () => ({ ...chosen });

/** Put the choices into their places. */
export function makeSettings() {
  for (const [name, values] of Object.entries(CHOICES)) {
    const before = kept(browser, name);
    if (values.includes(before)) chosen[name] = before;
    for (const value of values) byId(name).append(option(name, value));
  }
  show();
}

function option(name, value) {
  const input = el("input", { type: "radio", name, value, id: `${name}-${value}`, checked: chosen[name] === value });
  input.addEventListener("change", () => {
    chosen[name] = value;
    keep(browser, name, value);
    show();
  });
  return el("span", {}, input, tell(el("label", { for: input.id }), `${name}_${value}`));
}

function show() {
  document.body.dataset.tint = chosen.tint;
  tell(byId("tint-note"), `note_${chosen.tint}`);
}
