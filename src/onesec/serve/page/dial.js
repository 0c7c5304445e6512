// The dial: how long an answer may take, on a scale of logarithms, and how long the last one took.

import { browser, byId, el, keep, kept, svg } from "./dom.js";
import { inLanguage, tell, time } from "./say.js";

const LEAST_MS = 50;
const MOST_MS = 10_000;
const SCALE_MS = 10; // where the scale begins: answers may be sooner than the shortest deadline
const TURN = 270; // degrees from 10 ms to 10 s
const DECADES = 3;
const LABELS = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
const STOPS = stops();
const hearing = [];
let ms = LEAST_MS;
let face;

function stops() {
  const found = [];
  for (const [from, to, step] of [[50, 100, 5], [100, 300, 10], [300, 1000, 50], [1000, 3000, 100], [3000, 10_000, 500]]) {
    for (let value = from; value < to; value += step) found.push(value);
  }
  return [...found, MOST_MS];
}

function angle(value) {
  const share = Math.log10(Math.max(value, SCALE_MS) / SCALE_MS) / DECADES;
  return Math.min(1, share) * TURN - TURN / 2;
}

function point(radius, degrees) {
  const turned = ((degrees - 90) * Math.PI) / 180;
  return [120 + radius * Math.cos(turned), 120 + radius * Math.sin(turned)].map((x) => x.toFixed(2));
}

function arc(radius, from, to) {
  const [x0, y0] = point(radius, from);
  const [x1, y1] = point(radius, Math.max(to, from + 0.01));
  return `M${x0} ${y0}A${radius} ${radius} 0 ${to - from > 180 ? 1 : 0} 1 ${x1} ${y1}`;
}

function scale() {
  const parts = [];
  for (let decade = SCALE_MS; decade < MOST_MS; decade *= 10) {
    for (let step = 1; step < 10; step += 1) parts.push(decade * step);
  }
  return [...parts, MOST_MS].map((value) => {
    const main = LABELS.includes(value);
    const [x0, y0] = point(main ? 95 : 98, angle(value));
    const [x1, y1] = point(102, angle(value));
    const out = value < LEAST_MS ? " out" : "";
    return svg("path", { class: `tick${main ? " main" : ""}${out}`, d: `M${x0} ${y0}L${x1} ${y1}` });
  });
}

function labels() {
  return LABELS.map((value) => {
    const [x, y] = point(84, angle(value));
    const words = value < 1000 ? String(value) : `${value / 1000}s`;
    const kind = `mark${value < LEAST_MS ? " out" : ""}${Number.isInteger(Math.log10(value)) ? "" : " between"}`;
    return svg("text", { x, y, class: kind }, words);
  });
}

/** The deadline that is set, in milliseconds. */
export const deadline = () => ms;

/** Call `hear` now, and whenever another deadline is set. */
export function whenSet(hear) {
  hearing.push(hear);
  hear();
}

/** Set the deadline, to any time on the dial. */
export function setDeadline(value) {
  ms = Math.min(MOST_MS, Math.max(LEAST_MS, Math.round(value)));
  keep(browser, "deadline", String(ms));
  drawDeadline();
  for (const hear of hearing) hear();
}

/** Show how much of the time is gone: of an answer that runs, or of the last one. */
export function showElapsed(elapsedMs, state) {
  face.gone.setAttribute("d", arc(110, -TURN / 2, angle(elapsedMs)));
  face.gone.setAttribute("class", `gone ${state}`);
  tell(face.below, "used", time(elapsedMs));
}

/** Show no answer's time. */
export function forgetElapsed() {
  face.gone.removeAttribute("d");
  delete face.below.dataset.say;
  face.below.textContent = "";
}

/** Mark what whole answers usually take in the fastest gear and in the best: [[ms, rank]]. */
export function markPromises(promises) {
  face.promises.replaceChildren(
    ...promises.map(([value, rank]) => {
      const [cx, cy] = point(110, angle(value));
      const dot = svg("circle", { class: "promised", cx, cy, r: 3.5 });
      dot.style.setProperty("--rank", rank);
      return dot;
    }),
  );
}

/** Put the dial into its place. */
export function makeDial() {
  const input = el("input", { type: "range", min: 0, max: STOPS.length - 1, step: 1, id: "deadline", "data-say-label": "deadline" });
  const hand = svg("path", { class: "hand" });
  const set = svg("path", { class: "set" });
  const gone = svg("path", { class: "gone" });
  const promises = svg("g");
  const number = svg("text", { class: "number", x: 120, y: 122 });
  const unit = svg("text", { class: "unit", x: 120, y: 146 });
  const below = svg("text", { class: "below", x: 120, y: 206 });
  const track = svg("path", { class: "track", d: arc(110, -TURN / 2, TURN / 2) });
  const drawing = svg("svg", { viewBox: "0 0 240 222", "aria-hidden": "true" },
    track, promises, gone, svg("path", { class: "ring", d: arc(102, -TURN / 2, TURN / 2) }), set,
    ...scale(), ...labels(), hand, number, unit, below);
  face = { input, hand, set, gone, promises, number, unit, below };
  byId("dial").append(drawing, input);
  input.addEventListener("input", () => setDeadline(STOPS[Number(input.value)]));
  follow(drawing);
  const before = Number(kept(browser, "deadline"));
  ms = before >= LEAST_MS && before <= MOST_MS ? before : 500;
  inLanguage(drawDeadline);
}

function follow(drawing) {
  const turn = (event) => {
    const box = drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 240 - 120;
    const y = ((event.clientY - box.top) / box.height) * 222 - 120;
    if (Math.hypot(x, y) < 30) return; // the middle says no time
    const degrees = (Math.atan2(x, -y) * 180) / Math.PI;
    const value = SCALE_MS * 10 ** (((Math.min(135, Math.max(-135, degrees)) + 135) / TURN) * DECADES);
    setDeadline(STOPS[nearest(value)]);
  };
  drawing.addEventListener("pointerdown", (event) => {
    drawing.setPointerCapture(event.pointerId);
    face.input.focus({ preventScroll: true });
    turn(event);
  });
  drawing.addEventListener("pointermove", (event) => {
    if (drawing.hasPointerCapture(event.pointerId)) turn(event);
  });
}

function nearest(value) {
  const far = (stop) => Math.abs(Math.log(stop / value));
  return STOPS.reduce((best, stop, i) => (far(stop) < far(STOPS[best]) ? i : best), 0);
}

function drawDeadline() {
  const at = angle(ms);
  const [number, unit] = time(ms).split("\u00a0");
  const corners = [point(102, at), point(113, at - 3), point(113, at + 3)];
  face.set.setAttribute("d", arc(102, angle(LEAST_MS), at));
  face.hand.setAttribute("d", `M${corners.map((corner) => corner.join(" ")).join("L")}Z`);
  face.number.textContent = number;
  face.unit.textContent = unit;
  face.input.value = nearest(ms);
  face.input.setAttribute("aria-valuetext", time(ms));
}
