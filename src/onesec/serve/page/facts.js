// What the model is, what this machine makes of it, and what the server grants.

import { el } from "./dom.js";
import { inLanguage, say, tell, time } from "./say.js";
import { rank, server, whenSeen } from "./server.js";

/** The facts, filled in once the server has told them. */
export function facts() {
  const box = el("section", { class: "facts", hidden: true });
  let shown = null;
  const show = () => {
    const { props } = server;
    if (props === null) return;
    box.hidden = false;
    shown = props;
    box.replaceChildren(tell(el("h3", {}), "gears_title"), speeds(props.promises), tell(el("h3", {}), "facts_title"), list(props));
  };
  whenSeen(() => server.props !== shown && show());
  inLanguage(show);
  return box;
}

function speeds(promises) {
  const [{ prompt_tokens: prompt, answer_tokens: answer }] = promises;
  const slowest = Math.max(...promises.map((each) => each.answer_ms));
  const rows = promises.map((each) => {
    const bar = el("i", { class: "speed", "aria-hidden": "true" });
    bar.style.setProperty("--rank", rank(each.gear));
    bar.style.setProperty("width", `${((70 * each.answer_ms) / slowest).toFixed(1)}%`);
    return el("tr", {}, el("th", { scope: "row" }, each.gear), el("td", {}, time(each.ttft_ms)),
      el("td", { class: "wide" }, bar, ` ${time(each.answer_ms)}`));
  });
  const heads = [["c_gear"], ["c_first"], ["c_answer", answer]].map((words) => tell(el("th", { scope: "col" }), ...words));
  return el("div", {}, tell(el("p", { class: "note" }), "gears_about", prompt),
    el("table", { class: "speeds" }, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)));
}

function list(props) {
  const { limits, door_ms: door } = props;
  const pairs = {
    f_model: props.model,
    f_context: say("f_tokens", props.context_length),
    f_machine: props.machine || say("no_data"),
    f_version: props.version,
    f_default: limits.default_deadline_ms === null ? say("none") : time(limits.default_deadline_ms),
    f_most: time(limits.max_deadline_ms),
    f_open: limits.max_open_requests,
    f_door: `${time(door.entry)} + ${time(door.exit)}`,
  };
  return el("dl", { class: "pairs" }, ...Object.entries(pairs).flatMap(([key, value]) => [el("dt", {}, say(key)), el("dd", {}, String(value))]));
}
