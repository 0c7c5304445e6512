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

/** Take in a token that came. */
export function addToken(story, token) {
  const { gear, at_ms: at } = token;
  const last = story.stretches.at(-1);
  story.ticks.push({ at, gear, sure: token.confidence ?? null });
  if (last === undefined) story.stretches.push({ kind: "prefill", gear, from: 0, to: at, tokens: 0 });
  else if (last.kind === "decode" && last.gear === gear) {
    last.to = at;
    last.tokens += 1;
  } else story.stretches.push({ kind: "decode", gear, from: last.to, to: at, tokens: 1 });
}

/** Take in what the server says once an answer is over: the object `onesec`. */
export function endStory(story, told) {
  story.over = true;
  story.budgetMs = told.budget_ms;
  story.elapsedMs = told.elapsed_ms;
  story.met = told.met;
  story.ending = told.ending ?? worst(told.endings ?? []);
  story.used = told.resources ?? null;
  if (told.events) {
    story.events = told.events;
    story.stretches = worked(told.events);
    spread(story);
    story.landingMs = told.events.find((event) => event.kind === "land")?.at_ms ?? null;
  } else if (story.stretches.length === 0) story.stretches = shared(told.gears, told.elapsed_ms);
}

/** When each token was drawn: those of a stretch come evenly, and are sent together. */
function spread(story) {
  let i = 0;
  for (const { kind, from, to, tokens } of story.stretches) {
    const count = kind === "decode" ? tokens : i === 0 ? 1 : 0; // the prompt's last step draws the first
    for (let k = 1; k <= count && i < story.ticks.length; k += 1, i += 1) {
      story.ticks[i].at = kind === "decode" ? from + ((to - from) * k) / tokens : to;
    }
  }
}

function worst(endings) {
  return ["cut", "landed", "natural"].find((ending) => endings.includes(ending)) ?? "";
}

function worked(events) {
  return events
    .filter((event) => event.kind === "prefill" || event.kind === "decode")
    .map(({ kind, at_ms: to, detail }) => ({
      kind,
      gear: detail.gear,
      from: Math.max(0, to - detail.ms),
      to,
      tokens: detail.tokens,
    }));
}

/** Where only the tokens of each gear are known: one after the other, by their number. */
function shared(gears, elapsedMs) {
  const counts = Object.entries(gears ?? {});
  const all = counts.reduce((sum, [, count]) => sum + count, 0);
  let from = 0;
  return counts.map(([gear, tokens]) => {
    const stretch = { kind: "decode", gear, from, to: from + (elapsedMs * tokens) / all, tokens };
    from = stretch.to;
    return stretch;
  });
}
