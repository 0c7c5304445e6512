// Chat: a conversation, streamed token by token.

import { Trouble, events } from "./api.js";
import { CHAT } from "./examples.js";

/** What a desk needs to know of it. */
export function chat() {
  let turns = [];
  return {
    name: "chat",
    examples: (language) => CHAT[language],
    take: (example) => example,
    forget: () => {
      turns = [];
    },
    async ask(text, { card, signal, budgetMs, policy, tint }) {
      const asked = {
        messages: [...turns, { role: "user", content: text }],
        deadline_ms: budgetMs,
        policy,
        fit: "drop_oldest",
        stream: true,
        stream_options: { include_onesec: true },
        ...(tint === "confidence" ? { logprobs: true } : {}),
      };
      let end = null;
      for await (const event of events("v1/chat/completions", asked, signal)) {
        const told = event.onesec ?? {};
        if (told.likely_ms !== undefined) card.plan(told);
        if (told.tokens) card.add(told.tokens);
        if (told.elapsed_ms !== undefined) end = told;
      }
      if (end === null) throw new Trouble("network");
      card.finish(end);
      turns = [...asked.messages, { role: "assistant", content: card.text.textContent }];
    },
  };
}
