// The time line under an answer: the budget as a bar, the work in it by gear, what was expected, where
// it began to land, and the deadline.

import { svg } from "./dom.js";
import { say, time } from "./say.js";
import { rank } from "./server.js";

const BAR = { y: 6, height: 10 };
const NEAR = 2; // an expectation up to so many times the answer's own time is in the close view

const percent = (share) => `${(100 * Math.min(1, Math.max(0, share))).toFixed(3)}%`;

/** An empty time line; `draw` fills it. */
export function timeline(kind) {
  return svg("svg", { class: `timeline ${kind}`, role: "img", height: kind === "close" ? 58 : 22 });
}

/** Draw a story: from the first byte to the deadline or, in the close view, to the end of the work. */
export function draw(picture, story) {
  const close = picture.classList.contains("close");
  const endMs = close ? closeEnd(story) : Math.max(story.budgetMs ?? 0, story.elapsedMs * (story.budgetMs ? 1 : 1.1), 1);
  const x = (ms) => percent(ms / endMs);
  const wide = (from, to) => percent((Math.min(to, endMs) - from) / endMs);
  const rect = (kind, from, to, y, height, gear) => {
    const part = svg("rect", { class: kind, x: x(from), y, width: wide(from, to), height });
    if (gear !== undefined) part.style.setProperty("--rank", rank(gear));
    return part;
  };
  const line = (kind, at, y0, y1) => svg("line", { class: kind, x1: x(at), x2: x(at), y1: y0, y2: y1 });
  const { y, height } = BAR;
  const parts = [svg("rect", { class: "room", x: 0, y, width: "100%", height, rx: 2 })];
  parts.push(rect("wait", 0, story.elapsedMs, y, height));
  for (const part of story.stretches) parts.push(rect(part.kind, part.from, part.to, y, height, part.gear));
  if (story.predictedMs !== null && story.likelyMs <= endMs) {
    parts.push(rect("band", story.likelyMs, Math.max(story.predictedMs, story.likelyMs + endMs / 200), 1, 3));
  }
  for (const [i, part] of story.stretches.entries()) {
    const before = story.stretches[i - 1];
    if (before && before.gear !== part.gear) parts.push(line("shift", part.from, y - 2, y + height + 2));
  }
  if (story.landingMs !== null) parts.push(line("landing", story.landingMs, 0, y + height + 5));
  if (story.budgetMs !== null && story.budgetMs <= endMs) {
    if (story.elapsedMs > story.budgetMs) parts.push(rect("over", story.budgetMs, story.elapsedMs, y, height));
    parts.push(line("deadline", story.budgetMs, 1, y + height + 5));
  }
  if (story.elapsedMs > 0) parts.push(line(story.over ? "end" : "now", story.elapsedMs, y - 3, y + height + 3));
  if (close) parts.push(...tokens(story, x), ...axis(endMs));
  picture.replaceChildren(...parts);
  picture.setAttribute("aria-label", story.budgetMs === null
    ? say("line_open", time(story.elapsedMs))
    : say("line_label", time(story.elapsedMs), time(story.budgetMs)));
}

function closeEnd(story) {
  const near = [story.likelyMs, story.predictedMs, story.budgetMs].filter((ms) => ms !== null && ms < NEAR * story.elapsedMs);
  return Math.max(story.elapsedMs, ...near, 1) * 1.02;
}

function tokens(story, x) {
  return story.ticks.map(({ at, gear, sure }) => {
    const tall = 10 * (sure ?? 1);
    const tick = svg("line", { class: "token", x1: x(at), x2: x(at), y1: 34 - tall, y2: 34 });
    tick.style.setProperty("--rank", rank(gear));
    return tick;
  });
}

function axis(endMs) {
  const rough = endMs / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let at = 0; at <= endMs * 0.96; at += step) {
    found.push(svg("line", { class: "axis", x1: percent(at / endMs), x2: percent(at / endMs), y1: 36, y2: 40 }));
    found.push(svg("text", { class: "axis", x: percent(at / endMs), y: 53, "text-anchor": at === 0 ? "start" : "middle" },
      at === 0 ? "0" : time(at)));
  }
  return found;
}
