// A desk: where one application is asked: what it works on, the questions and answers, and the box to
// write in. What is asked, and of whom, is the application's own.

import { Trouble } from "./api.js";
import { Card } from "./card.js";
import { deadline, setDeadline, whenSet } from "./dial.js";
import { el } from "./dom.js";
import { inLanguage, say, spoken, tell, time } from "./say.js";
import { settings } from "./settings.js";

const IME = 229; // the key code of a key that a method of input has taken

/** `plan`: name; examples(language); take(example), which returns the text to ask; ask(text, run);
    and where it has them: context (an element), send (a key of words), forget(). */
export class Desk {
  constructor(root, plan) {
    this.plan = plan;
    this.running = null;
    this.title = el("h2", {});
    this.examples = el("div", { class: "examples" });
    this.empty = el("div", { class: "empty" }, this.title,
      tell(el("p", { class: "about" }), `${plan.name}_about`), this.examples);
    this.thread = el("div", { class: "thread" });
    this.box = el("textarea", { rows: 1, "data-say-hint": `${plan.name}_hint`, "data-say-label": `${plan.name}_hint`, enterkeyhint: "send" });
    this.send = el("button", { type: "submit", class: "go" });
    this.clear = tell(el("button", { type: "button", class: "quiet", hidden: true }), "clear");
    const form = el("form", { class: "composer" }, this.box, this.send);
    const below = el("div", { class: "below" }, tell(el("p", { class: "note" }), "keys"), this.clear);
    root.append(this.empty, plan.context ?? "", this.thread, el("div", { class: "foot-box" }, form, below));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.running.abort();
      else this.sent(this.box.value);
    });
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === IME) return;
      event.preventDefault();
      if (!this.running) this.sent(this.box.value);
    });
    this.box.addEventListener("input", () => this.grow());
    this.clear.addEventListener("click", () => this.forget());
    whenSet(() => tell(this.title, `${plan.name}_title`, time(deadline())));
    inLanguage(() => this.offer());
    this.rest();
  }

  offer() {
    const examples = this.plan.examples(spoken()).map((example) => {
      const button = el("button", { type: "button", class: "example" }, this.plan.label?.(example) ?? example);
      button.addEventListener("click", () => !this.running && this.sent(this.plan.take(example)));
      return el("li", {}, button);
    });
    const list = el("ul", { "aria-label": say("try_one") }, ...examples);
    this.examples.replaceChildren(list);
  }

  grow() {
    this.box.style.setProperty("height", "auto");
    this.box.style.setProperty("height", `${Math.min(this.box.scrollHeight, 220)}px`);
  }

  rest() {
    this.running = null;
    this.send.classList.remove("stopping");
    tell(this.send, this.plan.send ?? "send");
  }

  sent(text) {
    if (!text.trim()) {
      this.box.focus();
      return;
    }
    this.box.value = "";
    this.grow();
    this.empty.hidden = true;
    this.clear.hidden = false;
    const question = el("div", { class: "question", "data-say-label": "question", role: "group" }, text.trim());
    question.setAttribute("aria-label", say("question"));
    this.thread.append(question);
    this.answer(text.trim(), deadline());
  }

  async answer(text, budgetMs) {
    const card = new Card(budgetMs);
    this.thread.append(card.root);
    this.running = new AbortController();
    this.send.classList.add("stopping");
    tell(this.send, "stop");
    card.root.scrollIntoView({ block: "nearest" });
    const { signal } = this.running;
    try {
      await this.plan.ask(text, { card, signal, budgetMs, ...settings() });
    } catch (error) {
      if (error.name === "AbortError") card.stop();
      else card.fail(error instanceof Trouble ? error : new Trouble("other"), (againMs) => {
        if (this.running) return;
        card.root.remove();
        if (againMs !== budgetMs) setDeadline(againMs);
        this.answer(text, againMs);
        this.box.focus({ preventScroll: true });
      });
      if (!(error instanceof Trouble) && error.name !== "AbortError") console.error(error);
    }
    this.rest();
    card.root.scrollIntoView({ block: "nearest" });
  }

  forget() {
    this.running?.abort();
    this.thread.replaceChildren();
    this.plan.forget?.();
    this.empty.hidden = false;
    this.clear.hidden = true;
    this.box.focus();
  }
}
