// What is known of the server: its model and gears, and how it is; asked again while somebody looks.

import { Trouble, ask } from "./api.js";

const SOON_MS = 1000;
const LATER_MS = 5000;
const hearing = [];
let closely = false;
let timer = 0;

/** `props` is null until the model is there; `load` is the last answer, or null. */
export const server = { props: null, load: null, state: "loading", gears: [] };

/** Call `hear` after every look. */
export const whenSeen = (hear) => hearing.push(hear);

/** Look once a second, or now and then. */
export function lookClosely(wanted) {
  closely = wanted;
  look();
}

/** How good a gear is, from 0 (the fastest) to 1 (the best). */
export function rank(gear) {
  const place = server.gears.indexOf(gear);
  return place < 0 || server.gears.length < 2 ? 0 : place / (server.gears.length - 1);
}

/** Look now, and keep looking while the page is seen. */
export async function look() {
  clearTimeout(timer);
  if (document.visibilityState !== "visible") return;
  try {
    server.load = await ask("v1/onesec/load");
    server.state = server.load.state;
    if (server.props === null && server.state === "ready") {
      server.props = await ask("props");
      server.gears = server.props.gears;
    }
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    server.state = error.code === "invalid_api_key" ? "key" : error.code === "network" ? "away" : server.state;
  }
  if (server.state !== "ready") server.props = null; // it may come back with another model
  for (const hear of hearing) hear();
  clearTimeout(timer);
  const waits = closely || server.state === "loading" ? SOON_MS : LATER_MS;
  if (server.state !== "key") timer = setTimeout(look, waits);
}

document.addEventListener("visibilitychange", look);
