// The four applications: what each works on, how it is asked, and what its answer rests on.

import { Trouble, events } from "./api.js";
import { el } from "./dom.js";
import { ANSWER, SUMMARIZE, SUPPORT, TRANSLATE } from "./examples.js";
import { inLanguage, name, spoken, tell } from "./say.js";

const shortened = (text) => (text.length > 60 ? `${text.slice(0, 58)}…` : text);

async function streamed(app, body, { card, signal, budgetMs, policy, tint }) {
  const asked = {
    ...body,
    deadline_ms: budgetMs,
    policy,
    logprobs: tint === "confidence",
    stream: true,
    stream_options: { include_onesec: true },
  };
  let reply = null;
  for await (const event of events(`v1/apps/${app}`, asked, signal)) {
    const told = event.onesec ?? {};
    if (event.delta === undefined) reply = event;
    else if (told.tokens) card.add(told.tokens, event.part);
    else if (told.likely_ms !== undefined) card.plan(told);
  }
  if (reply === null) throw new Trouble("network");
  card.settle(reply.text);
  card.finish(reply.onesec);
  if (reply.unsupported?.length > 0) card.note("unsupported", reply.unsupported.join(", "));
  return reply;
}

function labelled(key, field, ...values) {
  return el("label", { class: "field" }, tell(el("span", {}), key, ...values), field);
}

/** A field that says what the language's example says, until somebody writes into it. */
function field(tag, attributes, sample) {
  const node = el(tag, attributes);
  node.addEventListener("input", () => {
    node.dataset.own = "";
  });
  inLanguage(() => {
    if (node.dataset.own === undefined) node.value = sample(spoken());
  });
  return node;
}

function rests(card, key, parts) {
  if (parts.length > 0) card.extra.append(el("p", { class: "rests" }, tell(el("span", {}), key), " ", ...parts));
}

function place(words, go) {
  const button = el("button", { type: "button", class: "source" });
  if (typeof words === "string") button.append(words);
  else tell(button, ...words);
  button.addEventListener("click", go);
  return button;
}

/** Support: a customer's questions, answered from entries and a record. */
export function support() {
  const entries = el("div", { class: "entries" });
  const record = field("input", { type: "text", spellcheck: "false" }, (language) => SUPPORT[language].record);
  const more = tell(el("button", { type: "button", class: "quiet" }), "entry_add");
  const context = el("details", { class: "context" }, tell(el("summary", {}), "knows"), entries, more, labelled("records", record));
  let turns = [];
  let own = false;
  const texts = () => [...entries.querySelectorAll("textarea")];
  const number = () => texts().forEach((text, i) => {
    tell(text.parentElement.querySelector("span"), "entry", i + 1);
    name(text.parentElement.parentElement.querySelector("button"), "entry_remove", i + 1);
  });
  const add = (value) => {
    const text = el("textarea", { rows: 1 });
    text.value = value;
    const remove = el("button", { type: "button", class: "quiet remove" }, "×");
    const row = el("div", { class: "entry" }, labelled("entry", text, 1), remove);
    text.addEventListener("input", () => {
      own = true;
    });
    remove.addEventListener("click", () => {
      own = true;
      row.remove();
      number();
      more.focus();
    });
    entries.append(row);
    number();
    return text;
  };
  more.addEventListener("click", () => {
    own = true;
    add("").focus();
  });
  inLanguage(() => {
    if (own) return;
    entries.replaceChildren();
    SUPPORT[spoken()].entries.forEach(add);
  });
  const show = (text) => {
    context.open = true;
    text.focus();
  };
  return {
    name: "support",
    context,
    examples: (language) => SUPPORT[language].questions,
    take: (example) => example,
    forget: () => {
      turns = [];
    },
    async ask(question, run) {
      const rows = texts().filter((text) => text.value.trim());
      const knowledge = rows.map((text, i) => ({ id: String(i), text: text.value.trim() }));
      const records = record.value.trim() ? [record.value.trim()] : [];
      const reply = await streamed("support", { question, knowledge, records, turns }, run);
      turns = [...turns, { question, answer: reply.text }];
      if (!reply.known) run.card.note("not_known");
      const sources = reply.sources.map((id) => place(["entry_named", texts().indexOf(rows[id]) + 1], () => show(rows[id])));
      if (reply.records.length > 0) sources.push(place(["record_named"], () => show(record)));
      rests(run.card, "from_entries", sources);
    },
  };
}

function select(key, group, values) {
  const node = el("select", {}, ...values.map((value) => tell(el("option", { value }), `${group}_${value}`)));
  return [node, el("div", { class: "context plain" }, labelled(key, node))];
}

/** Translate: English and Chinese, either way. */
export function translate() {
  const [into, context] = select("direction", "to", ["auto", "zh", "en"]);
  return {
    name: "translate",
    context,
    send: "send_translate",
    examples: (language) => TRANSLATE[language],
    take: (example) => {
      into.value = "auto";
      return example;
    },
    async ask(text, run) {
      const reply = await streamed("translate", { text, to: into.value === "auto" ? null : into.value }, run);
      run.card.text.lang = reply.target;
      if (!reply.complete) run.card.note("incomplete");
    },
  };
}

/** Answer: questions about a text. */
export function answer() {
  const text = field("textarea", { rows: 4 }, (language) => ANSWER[language].text);
  const context = el("div", { class: "context plain" }, labelled("document", text));
  const show = (asked, citation) => {
    text.focus();
    if (text.value !== asked) return; // it was changed since
    const units = (count) => Array.from(asked).slice(0, count).join("").length; // offsets count code points
    text.setSelectionRange(units(citation.start), units(citation.end));
  };
  return {
    name: "answer",
    context,
    examples: (language) => ANSWER[language].questions,
    take: (example) => example,
    async ask(question, run) {
      const asked = text.value;
      const reply = await streamed("answer", { question, text: asked }, run);
      if (!reply.found) run.card.note("not_found");
      rests(run.card, "cited", reply.citations.map((citation) => place(citation.text, () => show(asked, citation))));
    },
  };
}

const LENGTHS = { 1: "one sentence", 2: "two sentences", 20: "20 words", 40: "40 words" };

/** Summarize: a text in the length that is chosen. */
export function summarize() {
  const [length, context] = select("length", "length", Object.keys(LENGTHS));
  return {
    name: "summarize",
    context,
    send: "send_summarize",
    examples: (language) => SUMMARIZE[language],
    label: shortened,
    take: (example) => example,
    async ask(text, run) {
      const reply = await streamed("summarize", { text, length: LENGTHS[length.value] }, run);
      if (reply.read_share < 0.995 || reply.calls > 1) run.card.note("read_share", Math.round(100 * reply.read_share), reply.calls);
      if (!reply.kept) run.card.note("length_missed");
    },
  };
}
