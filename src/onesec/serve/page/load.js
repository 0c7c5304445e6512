// The load view: how busy the server is, and the last requests against their deadlines.

import { el, svg } from "./dom.js";
import { facts } from "./facts.js";
import { inLanguage, name, say, tell, time } from "./say.js";
import { server, whenSeen } from "./server.js";

const TOP = 1.25; // the highest share of a deadline that is told apart
const HEIGHT = 200;
const SLOTS = 100;
const ROWS = 20;

const NUMBERS = {
  running: (load) => load.running,
  waiting: (load) => load.waiting,
  hit_rate: ({ minute: { met, missed } }) =>
    (met + missed === 0 ? say("no_data") : `${Math.floor((100 * met) / (met + missed))} %`),
  goodput: ({ minute }) => Number(minute.goodput_answers_per_s.toPrecision(2)),
  goodput_tokens: ({ minute }) => Number(minute.goodput_tokens_per_s.toPrecision(2)),
  cache: (load) => `${Math.round(100 * load.kv_used_share)} %`,
};

function kind(done) {
  if (done.refused) return "refused";
  if (done.ending === "left") return "left";
  return { true: "met", false: "missed", null: "open" }[done.met];
}

/** Fill the view, and keep it as the server is. */
export function makeLoad(root) {
  const numbers = el("dl", { class: "numbers" });
  const dots = svg("svg", { class: "dots", height: HEIGHT + 10, role: "img" });
  const nobody = tell(el("p", { class: "note" }), "dots_empty");
  const legend = el("p", { class: "legend" }, ...["met", "missed", "refused", "open", "left"].map((each) =>
    el("span", {}, svg("svg", { width: 12, height: 12, "aria-hidden": "true" }, dot(each, "50%", 6)), tell(el("span", {}), `dot_${each}`))));
  const body = el("tbody", {});
  const heads = ["when", "what", "budget", "took", "end", "tokens"].map((each) => tell(el("th", { scope: "col" }), `c_${each}`));
  const box = name(el("div", { class: "scroll", tabindex: 0, role: "group" }), "as_table");
  box.append(el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body));
  const table = el("details", {}, tell(el("summary", {}), "as_table"), box);
  root.append(tell(el("h2", {}), "load_title"), numbers,
    tell(el("h3", {}), "last_requests"), nobody, dots, legend, table, facts());
  const show = () => {
    const { load } = server;
    if (load === null) return;
    numbers.replaceChildren(...Object.entries(NUMBERS).map(([key, read]) =>
      el("div", {}, el("dt", {}, say(key)), el("dd", {}, String(read(load))))));
    for (const part of [dots, legend, table]) part.toggleAttribute("hidden", load.recent.length === 0);
    nobody.hidden = load.recent.length > 0;
    drawDots(dots, load.recent);
    body.replaceChildren(...load.recent.slice(-ROWS).reverse().map(row));
  };
  whenSeen(show);
  inLanguage(show);
}

function dot(each, x, y) {
  if (each === "met") return svg("circle", { class: "dot met", cx: x, cy: y, r: 4 });
  if (each === "open" || each === "left") return svg("circle", { class: `dot ${each}`, cx: x, cy: y, r: 3.5 });
  const shape = each === "missed" ? "M-4-4L4 4M4-4L-4 4" : "M0-5L5 0L0 5L-5 0Z";
  const place = svg("svg", { x, y, overflow: "visible" }, svg("path", { class: `dot ${each}`, d: shape }));
  return place;
}

function drawDots(picture, recent) {
  const y = (share) => 10 + (HEIGHT - 10) * (1 - Math.min(share, TOP) / TOP);
  const parts = [0.25, 0.5, 0.75, 1].flatMap((share) => [
    svg("line", { class: share === 1 ? "deadline" : "axis", x1: 0, x2: "100%", y1: y(share), y2: y(share) }),
    svg("text", { class: "axis", x: 0, y: y(share) - 4 }, share === 1 ? say("at_deadline") : `${100 * share} %`),
  ]);
  const count = { met: 0, missed: 0, refused: 0, open: 0, left: 0 };
  recent.forEach((done, i) => {
    const each = kind(done);
    count[each] += 1;
    const slot = SLOTS - recent.length + i + 0.5;
    const share = done.refused ? TOP : done.budget_ms === null ? 0 : done.elapsed_ms / done.budget_ms;
    const mark = dot(each, `${7 + (93 * slot) / SLOTS}%`, y(share));
    mark.append(svg("title", {}, `${words(done)}: ${time(done.elapsed_ms)}${done.budget_ms === null ? "" : ` / ${time(done.budget_ms)}`}`));
    parts.push(mark);
  });
  picture.replaceChildren(...parts);
  picture.setAttribute("aria-label", say("dots_label", recent.length, count.met, count.missed, count.refused));
}

function words(done) {
  const each = kind(done);
  return each === "met" || each === "missed" ? `${say(each)}, ${done.ending ? say(done.ending) : ""}` : say(`dot_${each}`);
}

function row(done) {
  const cells = [
    time(done.age_ms),
    done.path.replace(/^\/v1\/(apps\/)?/, ""),
    done.budget_ms === null ? say("none") : time(done.budget_ms),
    time(done.elapsed_ms),
    words(done),
    done.tokens,
  ];
  return el("tr", {}, ...cells.map((cell) => el("td", {}, String(cell))));
}
