// The page: its tabs, its language and colours, the key, and the state of the server in the header.

import { useKey, whenKeyless } from "./api.js";
import { answer, summarize, support, translate } from "./apps.js";
import { chat } from "./chat.js";
import { Desk } from "./desk.js";
import { deadline, makeDial, markPromises, whenSet } from "./dial.js";
import { browser, byId, el, keep, kept } from "./dom.js";
import { makeLoad } from "./load.js";
import { announceLanguage, changeLanguage, inLanguage, name, say, tell } from "./say.js";
import { look, lookClosely, rank, server, whenSeen } from "./server.js";
import { makeSettings } from "./settings.js";

const DESKS = { chat, support, translate, answer, summarize };
const PROMPT = 32; // tokens of a short question
const THEMES = ["auto", "light", "dark"];
const tabs = {};
let shown = "chat";

function makeTabs() {
  for (const key of [...Object.keys(DESKS), "load"]) {
    const tab = tell(el("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": `panel-${key}` }), key);
    const panel = el("section", { role: "tabpanel", id: `panel-${key}`, "aria-labelledby": tab.id });
    if (key === "load") makeLoad(panel);
    else new Desk(panel, DESKS[key]());
    tab.addEventListener("click", () => {
      window.location.hash = key;
    });
    tabs[key] = { tab, panel };
    byId("tabs").append(tab);
    byId("panels").append(panel);
  }
  byId("tabs").addEventListener("keydown", step);
  window.addEventListener("hashchange", showTab);
  showTab();
}

function step(event) {
  const keys = Object.keys(tabs);
  const at = keys.indexOf(current());
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + keys.length, Home: 0, End: keys.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  window.location.hash = keys[to % keys.length];
  tabs[keys[to % keys.length]].tab.focus();
}

/** The tab that the address names; where it names something else (the panels), the last one. */
function current() {
  const key = window.location.hash.slice(1) || "chat";
  if (Object.hasOwn(tabs, key)) shown = key;
  return shown;
}

function showTab() {
  current();
  for (const [key, { tab, panel }] of Object.entries(tabs)) {
    tab.setAttribute("aria-selected", String(key === shown));
    tab.tabIndex = key === shown ? 0 : -1;
    panel.hidden = key !== shown;
  }
  document.body.dataset.tab = shown;
  lookClosely(shown === "load");
}

function makeTheme() {
  let theme = kept(browser, "theme");
  if (!THEMES.includes(theme)) theme = "auto";
  const button = byId("theme");
  const show = () => {
    document.documentElement.dataset.theme = theme;
    tell(button, `theme_${theme}`);
    name(button, "theme_label", say(`theme_${theme}`));
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    keep(browser, "theme", theme);
    show();
  });
  inLanguage(show);
}

function makeKey() {
  const box = byId("key");
  whenKeyless(() => {
    if (!box.open) box.showModal();
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key-value").value);
    byId("key-value").value = "";
    box.close();
    look();
  });
  byId("key-leave").addEventListener("click", () => box.close());
}

function showState() {
  const { state, load, props } = server;
  const value = { ready: props?.model ?? "", loading: Math.floor(100 * (load?.loaded ?? 0)) }[state];
  byId("state").dataset.state = state;
  tell(byId("state-words"), `state_${state}`, value ?? "");
  if (props !== null) showRoom(props);
}

/** How many tokens there is usually time for, behind a short prompt, by what was measured at the
    start: a prompt of n tokens takes a + bn + cn², a token at position x takes px + q. */
function showRoom({ latency, promises, context_length: context }) {
  const tokens = (gear) => {
    const { a_ms: a, b_ms: b, c_ms: c, p_ms: p, q_ms: q } = latency.gears[gear];
    const left = deadline() - (a + b * PROMPT + c * PROMPT ** 2);
    const step = q + p * PROMPT; // n of them take n·step + pn²/2
    return left < 0 ? 0 : 1 + Math.floor((2 * left) / (step + Math.sqrt(step ** 2 + 2 * p * left)));
  };
  const [fastest, best] = [tokens(server.gears[0]), tokens(server.gears.at(-1))];
  const words = best + PROMPT >= context ? "room_all" : best > 0 ? "room" : fastest > 0 ? "room_none" : "no_room";
  const most = Math.min(fastest, context - PROMPT);
  tell(byId("room"), words, words === "room_all" ? context : rounded(best), rounded(most));
  markPromises([promises[0], promises.at(-1)].map((each) => [each.answer_ms, rank(each.gear)]));
}

const rounded = (count) => Number(count.toPrecision(count < 100 ? 1 : 2));

byId("language").addEventListener("click", changeLanguage);
makeDial();
makeSettings();
makeTheme();
makeKey();
makeTabs();
whenSeen(showState);
whenSet(() => server.props && showRoom(server.props));
announceLanguage();
