// An answer's events in words, for who wants to know why it came about as it did.

import { say, time } from "./say.js";
import { rank } from "./server.js";

const TELL = {
  plan: (at, d) => say("story_plan", at, d.gear, time(d.likely_ms), time(d.predicted_ms)),
  prefill: (at, d) => say("story_prefill", at, d.tokens, d.gear, d.cached),
  decode: (at, d) => say("story_decode", at, d.tokens, d.gear),
  shift: shifted,
  land: (at, d) => say("story_land", at, d.room_tokens),
  no_time: (at, d) => say("story_no_time", at, time(d.left_ms), time(d.need_ms)),
  stall: (at, d) => say("story_stall", at, time(d.ms)),
  stop: (at, d) => say("story_stop", at, d.ending in { natural: 1, landed: 1, cut: 1 } ? say(`${d.ending}_why`) : d.ending),
};

function shifted(at, d) {
  const up = rank(d.gear) > rank(d.was);
  return say(up ? "story_shift_up" : "story_shift", at, d.was, d.gear, time(d.left_ms), time(up ? d.need_there_ms : d.need_ms));
}

/** One sentence an event that has words; and what the answer used. */
export function narrate(story) {
  const lines = story.events
    .filter((event) => event.kind in TELL)
    .map((event) => TELL[event.kind](time(event.at_ms), event.detail));
  if (story.used !== null) {
    lines.push(say("story_used", Number(story.used.cpu_ms.toPrecision(3)), (story.used.bytes_read / 1e6).toFixed(1)));
  }
  return lines;
}
