// What is looked for, in the address: a page can be linked and loaded again, and Back undoes a step.
//
// #title=KEY*WEIGHT (less like it: a negative one), visual=, audio=, transcript=, variety=, tag=, name=, open=KEY*SECONDS.
// Examples that were dropped or typed are not in it: the server forgets them.

import { state } from "./state.js";

const SETTLED_MS = 200; // a slider that is dragged changes the address once; browsers refuse hundreds of changes
const MOST_WEIGHT = 3;
let settling = null;

/** Write what is looked for now. A new title, as an example or to play, is a step that Back undoes. */
export function writeAddress() {
  clearTimeout(settling);
  const [before, next] = [fragment(), textOf(state)];
  if (!isStep(parsed(before), parsed(next))) settling = setTimeout(() => replace(textOf(state)), SETTLED_MS);
  // what was opened and closed again left an entry like the one before: that one is used up
  else if (history.state?.before === before) replace(next);
  else history.pushState({ before }, "", urlOf(next));
}

/** What the address asks for, whatever somebody typed there: { titles, weights, diversity, tags, name, opened }. */
export function readAddress() {
  clearTimeout(settling);
  return parsed(fragment());
}

const fragment = () => location.hash.slice(1);
const urlOf = (text) => (text ? `#${text}` : location.pathname + location.search);

function replace(text) {
  if (text !== fragment()) history.replaceState(history.state, "", urlOf(text));
}

function isStep(before, next) {
  const same = (a) => (b) => a.key === b.key && a.against === b.against;
  const isNew = (title) => !before.titles.some(same(title));
  return next.titles.some(isNew) || (next.opened !== null && next.opened.key !== before.opened?.key);
}

function textOf({ parts, weights, diversity, tags, name, opened }) {
  const text = new URLSearchParams();
  for (const { key, weight, against } of parts.filter((part) => part.source === "title")) text.append("title", `${key}*${against ? -weight : weight}`);
  for (const [modality, weight] of Object.entries(weights)) if (weight !== 1) text.append(modality, weight);
  if (diversity) text.append("variety", diversity);
  for (const tag of tags) text.append("tag", tag);
  if (name) text.append("name", name);
  if (opened) text.append("open", `${opened.key}*${Math.floor(opened.at)}`);
  return text.toString();
}

function parsed(fragmentText) {
  const text = new URLSearchParams(fragmentText);
  const titles = text.getAll("title").map(pair).map(([key, signed]) => ({ key, weight: within(0.1, Math.abs(signed), 2, 1), against: signed < 0 }));
  const weights = Object.fromEntries(Object.keys(state.weights).map((name) => [name, within(0, Number(text.get(name) ?? 1), MOST_WEIGHT, 1)]));
  if (Object.values(weights).every((weight) => weight === 0)) weights.visual = 1;
  const [key, at] = pair(text.get("open") ?? "");
  return {
    titles: titles.filter((title, place) => isKey(title.key) && titles.findIndex((other) => other.key === title.key) === place),
    weights,
    diversity: within(0, Number(text.get("variety") ?? 0), 1, 0),
    tags: new Set(text.getAll("tag")),
    name: text.get("name") ?? "",
    opened: isKey(key) ? { key, at: within(0, at, Infinity, 0) } : null,
  };
}

/** "KEY*NUMBER" */
function pair(text) {
  const [key, number] = text.split("*");
  return [key, Number(number ?? 1)];
}

const isKey = (text) => /^[\w-]+$/.test(text);

function within(least, value, most, otherwise) {
  return Number.isFinite(value) ? Math.min(Math.max(value, least), most) : otherwise;
}
