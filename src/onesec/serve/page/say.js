// Saying things in the reader's language, and again when the reader changes it.

import { browser, keep, kept } from "./dom.js";
import { WORDS } from "./words.js";

let hearing = [];
const PLACES = { say: null, sayLabel: "aria-label", sayHint: "placeholder", sayTitle: "title" };
let language = kept(browser, "language");
if (!(language in WORDS)) {
  language = (navigator.languages ?? [navigator.language]).map((name) => name.slice(0, 2).toLowerCase())
    .find((name) => name in WORDS) ?? "en";
}

/** "en" or "zh". */
export const spoken = () => language;

/** The words of a key, with {0}, {1} … filled in. */
export function say(key, ...values) {
  return WORDS[language][key].replace(/\{(\d)\}/g, (_, i) => String(values[i]));
}

/** Have an element say something, in whatever language is spoken. */
export function tell(node, key, ...values) {
  node.dataset.say = key;
  node.dataset.values = JSON.stringify(values);
  node.textContent = say(key, ...values);
  return node;
}

/** Have an element called something, in whatever language is spoken. */
export function name(node, key, ...values) {
  node.dataset.sayLabel = key;
  node.dataset.values = JSON.stringify(values);
  node.setAttribute("aria-label", say(key, ...values));
  return node;
}

/** Have everything below an element say what it is to say. */
export function retell(root) {
  for (const [place, attribute] of Object.entries(PLACES)) {
    const name = place.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    for (const node of root.querySelectorAll(`[data-${name}]`)) {
      const words = say(node.dataset[place], ...JSON.parse(node.dataset.values ?? "[]"));
      if (attribute === null) node.textContent = words;
      else node.setAttribute(attribute, words);
    }
  }
}

/** Call `hear` now, and whenever the language changes; where it is about an element, while that is
    on the page. */
export function inLanguage(hear, node = document.body) {
  hearing.push({ hear, node });
  hear();
}

/** Speak the other language from now on. */
export function changeLanguage() {
  language = language === "en" ? "zh" : "en";
  keep(browser, "language", language);
  announceLanguage();
}

/** Say everything in the language that is spoken. */
export function announceLanguage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  retell(document);
  hearing = hearing.filter(({ node }) => node.isConnected);
  for (const { hear } of hearing) hear();
}

/** Milliseconds for people: as many digits as tell something, and a unit that stays with them. */
export function time(ms) {
  if (ms >= 119_950) return `${Number((ms / 60_000).toPrecision(3))}\u00a0min`;
  if (ms >= 999.5) return `${Number((ms / 1000).toPrecision(3))}\u00a0s`;
  return `${ms >= 9.95 ? Math.round(ms) : Number(ms.toFixed(1))}\u00a0ms`;
}
