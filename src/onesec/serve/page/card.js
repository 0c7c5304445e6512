// One answer on the page: its tokens as they come, its time line, and how it ended.

import { forgetElapsed, showElapsed } from "./dial.js";
import { byId, el } from "./dom.js";
import { narrate } from "./narrate.js";
import { inLanguage, say, tell, time } from "./say.js";
import { rank } from "./server.js";
import { addToken, endStory, newStory } from "./story.js";
import { draw, timeline } from "./timeline.js";

const SURE = 0.8;
const UNSURE = 0.5;
const KNOWN = new Set(["loading", "draining", "engine_closed", "context_length_exceeded", "invalid_api_key", "too_large", "network"]);
const still = window.matchMedia("(prefers-reduced-motion: reduce)");

/** An answer that begins now, within so many milliseconds. */
export class Card {
  constructor(budgetMs) {
    this.story = newStory(budgetMs);
    this.text = el("p", { class: "text" });
    this.extra = el("div", { class: "extra" });
    this.line = timeline("whole");
    this.foot = el("p", { class: "foot" });
    this.root = el("article", { class: "card running", "data-say-label": "reply" }, this.text, this.line, this.foot, this.extra);
    this.root.setAttribute("aria-label", say("reply"));
    this.began = performance.now();
    this.span = null;
    tell(this.foot, "thinking");
    draw(this.line, this.story);
    this.frame = requestAnimationFrame(() => this.move());
  }

  /** Milliseconds since it was asked for. */
  get sinceMs() {
    return performance.now() - this.began;
  }

  move() {
    this.story.elapsedMs = this.sinceMs;
    if (!still.matches) {
      draw(this.line, this.story);
      showElapsed(this.story.elapsedMs, "runs");
    }
    this.frame = requestAnimationFrame(() => this.move());
  }

  /** What the server expects of it. */
  plan(told) {
    this.story.likelyMs = told.likely_ms ?? null;
    this.story.predictedMs = told.predicted_ms ?? null;
  }

  /** Tokens that came, or text that is in none, of the completion of that number. */
  add(tokens, part = 0) {
    for (const token of tokens) {
      const last = this.span;
      if (token.index === undefined) this.text.append(token.text);
      else if (last?.index === token.index && last.part === part) last.node.append(token.text);
      else this.token(token, part);
    }
  }

  token(token, part) {
    addToken(this.story, token, part);
    const sure = token.confidence;
    const doubt = sure === undefined ? "" : sure < UNSURE ? " unsure" : sure < SURE ? " fair" : " sure";
    const parts = [`${token.gear || "–"}`, sure === undefined ? null : sure.toFixed(2), time(token.at_ms)];
    const node = el("span", { class: `token${doubt}`, title: parts.filter((part) => part !== null).join(" · ") }, token.text);
    node.style.setProperty("--rank", rank(token.gear));
    this.text.append(node);
    this.span = { index: token.index, part, node };
  }

  /** The text as it is at last. Where it differs from what came by spaces alone, tokens keep theirs. */
  settle(text) {
    const bare = (words) => words.replace(/\s/g, "");
    const nodes = [...this.text.childNodes];
    if (bare(text) !== bare(this.text.textContent)) {
      this.text.textContent = text;
      return;
    }
    let at = 0;
    nodes.forEach((node, i) => {
      let left = bare(node.textContent).length;
      let to = at;
      while (to < text.length && (left > 0 || /\s/.test(text[to]))) {
        if (!/\s/.test(text[to])) left -= 1;
        to += 1;
      }
      node.textContent = text.slice(at, i === nodes.length - 1 ? text.length : to);
      at = to;
    });
  }

  /** It is over: `told` is the object `onesec`. */
  finish(told) {
    this.halt();
    endStory(this.story, told);
    const { story } = this;
    draw(this.line, story);
    showElapsed(story.elapsedMs, story.met === false ? "late" : "kept");
    this.root.classList.add(story.met === false ? "late" : "kept");
    const met = { true: "met", false: "missed", null: "unlimited" }[story.met];
    const parts = [mark(met), spent(story)];
    if (story.ending) parts.push(tell(el("span", { class: `ending ${story.ending}`, "data-say-title": `${story.ending}_why`, title: say(`${story.ending}_why`) }), story.ending));
    const gears = Object.entries(told.gears).sort(([one], [other]) => rank(one) - rank(other));
    parts.push(...gears.map(([gear, count]) => geared(gear, count)));
    delete this.foot.dataset.say; // else another language would say that it still works
    this.foot.replaceChildren(...parts);
    if (told.fitted) this.note("fitted");
    if (!this.text.textContent) this.note("nothing_said");
    if (story.events.length > 0) this.extra.after(this.told());
    byId("live").textContent = say("announce", say(met), time(story.elapsedMs), this.text.textContent);
  }

  told() {
    const close = timeline("close");
    const list = el("ol", { class: "story" });
    const show = () => {
      draw(close, this.story);
      list.replaceChildren(...narrate(this.story).map((line) => el("li", {}, line)));
    };
    const key = el("p", { class: "key" }, ...["waits", "reads", "writes", "expects", "lands"].map((each) =>
      el("span", {}, el("i", { class: each }), tell(el("span", {}), `key_${each}`))));
    inLanguage(show, close);
    return el("details", {}, tell(el("summary", {}), "story"), close, key, list);
  }

  /** A remark below it. */
  note(key, ...values) {
    this.extra.append(tell(el("p", { class: "remark" }), key, ...values));
  }

  /** The reader stopped it. */
  stop() {
    this.halt();
    draw(this.line, this.story);
    this.root.classList.add("stopped");
    tell(this.foot, "stopped", time(this.story.elapsedMs));
  }

  /** It was refused or failed; `again` asks once more, within so many milliseconds. */
  fail(trouble, again) {
    this.halt();
    forgetElapsed();
    this.line.remove();
    this.root.classList.add("failed");
    const words = el("p", { class: "trouble", role: "alert" });
    let button = null;
    if (trouble.feasibleMs !== null) {
      const offerMs = Math.ceil(trouble.feasibleMs);
      tell(words, "refused", time(this.story.budgetMs));
      button = tell(el("button", { type: "button", class: "go" }), "offer", time(offerMs));
      button.addEventListener("click", () => again(offerMs));
    } else {
      if (trouble.code === "queue_full") tell(words, "queue_full");
      else if (trouble.code === "deadline_infeasible") tell(words, "refused", time(this.story.budgetMs));
      else if (trouble.code === "invalid_request") tell(words, "e_invalid_request", trouble.message);
      else tell(words, KNOWN.has(trouble.code) ? `e_${trouble.code}` : "e_other");
      button = tell(el("button", { type: "button", class: "go" }), "again");
      button.addEventListener("click", () => again(this.story.budgetMs));
    }
    this.foot.replaceWith(words, button);
  }

  halt() {
    cancelAnimationFrame(this.frame);
    this.story.elapsedMs = this.sinceMs;
    this.root.classList.remove("running");
  }
}

function mark(met) {
  return tell(el("span", { class: `mark ${met}` }), met);
}

function spent(story) {
  const words = el("span", { class: "spent" }, el("b", {}, time(story.elapsedMs)));
  if (story.budgetMs !== null) words.append(` / ${time(story.budgetMs)}`);
  return words;
}

function geared(gear, count) {
  const dot = el("i", { class: "swatch", "aria-hidden": "true" });
  dot.style.setProperty("--rank", rank(gear));
  return el("span", { class: "geared" }, dot, tell(el("span", {}), "tokens_in", count, gear));
}
