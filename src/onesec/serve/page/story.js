// The story of one answer in numbers: what was expected, when each token came, in which gear, and how
// it ended. Times are milliseconds since the server had the request's first byte.

/** A story that begins now. */
export function newStory(budgetMs) {
  return {
    budgetMs,
    likelyMs: null,
    predictedMs: null,
    elapsedMs: 0,
    landingMs: null,
    stretches: [], // {kind: "prefill" or "decode", gear, from, to, tokens}
    ticks: [], // {at, gear, sure} of each token
    events: [],
    over: false,
    met: null,
    ending: "",
    used: null,
  };
}

/** Take in a token that came, of the completion of that number. */
export function addToken(story, token, part) {
  const { gear, at_ms: at } = token;
  const last = story.stretches.at(-1);
  story.ticks.push({ at, gear, sure: token.confidence ?? null, part });
  if (last === undefined || last.part !== part) {
    story.stretches.push({ kind: "prefill", gear, from: last?.to ?? 0, to: at, tokens: 0, part });
  } else if (last.kind === "decode" && last.gear === gear) {
    last.to = at;
    last.tokens += 1;
  } else story.stretches.push({ kind: "decode", gear, from: last.to, to: at, tokens: 1, part });
}

/** Take in what the server says once an answer is over: the object `onesec`. */
export function endStory(story, told) {
  const parts = told.parts ?? [{ begin_ms: 0, events: told.events ?? [] }];
  story.over = true;
  story.budgetMs = told.budget_ms;
  story.elapsedMs = told.elapsed_ms;
  story.met = told.met;
  story.ending = told.ending ?? worst(told.endings);
  story.used = told.resources ?? null;
  story.events = parts.flatMap(({ begin_ms: begin, events }) => events.map((event) => later(event, begin)));
  story.landingMs = story.events.findLast((event) => event.kind === "land")?.at_ms ?? null;
  const stretches = parts.flatMap(({ begin_ms: begin, events }, part) => worked(events, begin, part));
  story.stretches = stretches;
  story.ticks = parts.flatMap((_, part) =>
    spread(stretches.filter((each) => each.part === part), story.ticks.filter((each) => each.part === part)));
}

function worst(endings) {
  return ["cut", "landed", "natural"].find((ending) => endings.includes(ending)) ?? "";
}

/** An event whose times count from `begin`, on the answer's own clock. */
function later({ at_ms: at, kind, detail }, begin) {
  const { likely_ms: likely, predicted_ms: predicted } = detail;
  const moved = kind === "plan" ? { likely_ms: likely + begin, predicted_ms: predicted + begin } : {};
  return { at_ms: at + begin, kind, detail: { ...detail, ...moved } };
}

function worked(events, begin, part) {
  return events
    .filter((event) => event.kind === "prefill" || event.kind === "decode")
    .map(({ kind, at_ms: at, detail }) => ({
      kind,
      gear: detail.gear,
      from: begin + Math.max(0, at - detail.ms),
      to: begin + at,
      tokens: detail.tokens,
      part,
    }));
}

/** When each token of a completion was drawn: those of a stretch evenly, the first one by the
    prompt's last step. The end's own token is none of `known`, those that came. */
function spread(stretches, known) {
  const ticks = [];
  stretches.forEach(({ kind, gear, from, to, tokens }, i) => {
    if (kind === "prefill") {
      if (stretches[i + 1]?.kind !== "prefill") ticks.push({ at: to, gear });
    } else for (let k = 1; k <= tokens; k += 1) ticks.push({ at: from + ((to - from) * k) / tokens, gear });
  });
  const shown = known.length > 0 ? ticks.slice(0, known.length) : ticks;
  return shown.map((tick, i) => ({ ...tick, sure: known[i]?.sure ?? null }));
}
