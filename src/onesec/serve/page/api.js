// What the page asks of its server: whole answers, streams, and the words for what goes wrong.

import { keep, kept, tab } from "./dom.js";

const keyless = [];

/** Something that was refused or failed: `code` is the server's, or "network". */
export class Trouble extends Error {
  constructor(code, message = "", more = {}) {
    super(message);
    this.code = code;
    this.feasibleMs = more.feasible_ms ?? null;
  }
}

/** Call `hear` when the server asks for a key. */
export const whenKeyless = (hear) => keyless.push(hear);

/** Use a key in this tab; one that no header carries is none, so the server asks again. */
export const useKey = (key) => keep(tab, "key", /^[\x20-\x7e]+$/.test(key) ? key : null);

async function fetched(path, options) {
  const headers = options.body === undefined ? {} : { "content-type": "application/json" };
  const key = kept(tab, "key");
  if (key) headers.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Trouble("network");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const error = said.error ?? {};
  if (response.status === 401) keyless.forEach((hear) => hear());
  throw new Trouble(error.code ?? "other", error.message ?? "", { ...said, ...error });
}

/** A JSON answer. Throws Trouble, or AbortError where `signal` says so. */
export async function ask(path, body, signal) {
  const options = body === undefined ? { signal } : { method: "POST", body: JSON.stringify(body), signal };
  const response = await fetched(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Trouble("network");
  }
}

/** The events of a stream, each as an object. Throws as `ask` does. */
export async function* events(path, body, signal) {
  const response = await fetched(path, { method: "POST", body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw error.name === "AbortError" ? error : new Trouble("network");
    }
    if (part.done) return;
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Trouble(event.error.code, event.error.message, event.error);
      yield event;
    }
  }
}
