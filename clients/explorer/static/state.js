// What is looked for, in one place. Whoever changes it says `changed`, and the page asks again.

export const EACH_PAGE = 24;
export const MOST = 192; // the server gives 200

export const state = {
  parts: [], // see examples.js
  weights: { visual: 1, audio: 1, transcript: 1 },
  diversity: 0,
  tags: new Set(),
  name: "",
  limit: EACH_PAGE,
  opened: null, // { key, at }: the title that plays, and the second it was opened at
  server: { reachable: true },
};

const listeners = [];

/** Call `listener` when something changed. */
export function onChange(listener) {
  listeners.push(listener);
}

/** Something changed, so as many titles are wanted as at first. */
export function changed(limit = EACH_PAGE) {
  state.limit = limit;
  for (const listener of listeners) listener();
}

/** The parts that can be searched with: titles of the address too whose names are still to come. */
export function ready() {
  return state.parts.filter((part) => part.status === "ready" || (part.source === "title" && part.status === "working"));
}

/** The search as the server takes it. */
export function searchRequest() {
  return {
    parts: ready().map((part) => ({ source: part.source, key: part.key, weight: part.against ? -part.weight : part.weight })),
    weights: state.weights,
    diversity: state.diversity,
    tags: [...state.tags],
    limit: state.limit,
  };
}
