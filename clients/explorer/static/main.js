// The page: what changes, what is asked then, what is shown.

import { readAddress, writeAddress } from "./address.js";
import { browse, search } from "./api.js";
import { announce, byId, counted, el } from "./dom.js";
import { embedAgain, setTitles, setUpExamples } from "./examples.js";
import { setUpResults, showTitles } from "./results.js";
import { setUpServer } from "./server.js";
import { openFrom, openTitle, refreshMatches, setUpStage } from "./stage.js";
import { EACH_PAGE, MOST, changed, onChange, ready, searchRequest, state } from "./state.js";
import { setUpTheme } from "./theme.js";

const STARTING = "Drop something on the page, or start from one of these with “More like this”.";
const ADDING = "“More like this” adds one to the examples.";
const EMPTY = "This library is empty. `resonance ingest FOLDER --sink STORE` fills it; then load this page again.";
const UNFINISHED = "The library is too large to look through all of its titles here; `resonance titles STORE WORDS` does.";
const knownTags = new Set();
let asking = false;
let wanted = false; // something changed since the last question was asked

/** Ask again. One question at a time: a slider that is dragged never makes a queue of them. */
async function refresh() {
  wanted = true;
  writeAddress();
  showControls();
  byId("results").setAttribute("aria-busy", "true");
  if (asking) return;
  asking = true;
  while (wanted) {
    wanted = false;
    await ask();
  }
  asking = false;
  byId("results").removeAttribute("aria-busy");
}

async function ask() {
  try {
    await (ready().length && !state.name ? askSearch() : askBrowse());
    byId("failure").hidden = true;
    await refreshMatches();
  } catch (error) {
    if (error.kind === "ExpiredExampleError") {
      await embedAgain(); // each says that it changed
      return;
    }
    byId("failure").textContent = error.message;
    byId("failure").hidden = false;
  }
}

async function askSearch() {
  const { limit } = state; // that of this question: more may be asked for meanwhile
  const { hits } = await search(searchRequest());
  showTitles(hits, { ranked: true });
  byId("results-title").textContent = "Most like it";
  byId("results-note").textContent = hits.length ? "Right adds to the score, left takes away. Hatched: inferred. Tick: usual." : "";
  showNothing(hits.length, "No title fits. Take a tag away, or an example.");
  byId("more").hidden = hits.length < limit || limit === MOST;
  noteTags(hits);
  announce(hits.length ? `${counted(hits.length, "title")}. First: ${hits[0].name}.` : "No title fits.");
}

async function askBrowse() {
  const { limit } = state; // see askSearch
  const found = await browse(state);
  showTitles(found.titles, { ranked: false });
  byId("results-title").textContent = state.name || state.tags.size ? "Titles that fit" : "In this library";
  byId("results-note").textContent = found.titles.length ? (ready().length ? ADDING : STARTING) : "";
  const isCut = !found.all && found.titles.length < limit; // the time was up first
  if (isCut && found.titles.length) byId("results-note").textContent = UNFINISHED;
  showNothing(found.titles.length, isCut ? `None was found so far. ${UNFINISHED}` : state.name || state.tags.size ? "No title has such a name." : EMPTY);
  byId("more").hidden = found.all || isCut || limit === MOST;
  noteTags(found.titles);
  announce(`${counted(found.titles.length, "title")} shown.${isCut ? ` ${UNFINISHED}` : ""}`);
}

function showNothing(count, text) {
  byId("nothing").hidden = count > 0;
  byId("nothing").textContent = count > 0 ? "" : text;
}

function noteTags(titles) {
  for (const title of titles) for (const tag of title.tags) knownTags.add(tag);
  const names = [...new Set([...state.tags, ...knownTags])].slice(0, 40);
  byId("filters").hidden = names.length === 0;
  const held = document.activeElement?.closest?.("#tags") ? document.activeElement.textContent : null;
  const buttons = names.map((tag) => el("button", { type: "button", class: "tag", "aria-pressed": String(state.tags.has(tag)), onclick: () => toggleTag(tag) }, tag));
  byId("tags").replaceChildren(...buttons.map((button) => el("li", {}, button)));
  buttons.find((button) => button.textContent === held)?.focus();
}

function toggleTag(tag) {
  if (!state.tags.delete(tag)) state.tags.add(tag);
  changed();
}

function showControls() {
  const some = ready().length > 0;
  byId("sliders-hint").hidden = some;
  byId("even").hidden = Object.values(state.weights).every((weight) => weight === 1) && state.diversity === 0;
}

function setUpSliders() {
  for (const name of Object.keys(state.weights)) {
    const range = byId(`weight-${name}`);
    range.addEventListener("input", () => {
      const others = Object.entries(state.weights).filter(([other]) => other !== name);
      // not all may be 0: the last one stays a little above
      if (range.valueAsNumber === 0 && others.every(([, weight]) => weight === 0)) range.value = "0.1";
      state.weights[name] = range.valueAsNumber;
      range.nextElementSibling.textContent = range.valueAsNumber.toFixed(1);
      changed();
    });
  }
  const variety = byId("variety");
  variety.addEventListener("input", () => {
    state.diversity = variety.valueAsNumber;
    variety.nextElementSibling.textContent = variety.valueAsNumber.toFixed(2);
    changed();
  });
  byId("even").addEventListener("click", () => {
    for (const name of Object.keys(state.weights)) state.weights[name] = 1;
    state.diversity = 0;
    showSliders();
    changed();
    byId("weight-visual").focus();
  });
}

/** The sliders where the state has them. */
function showSliders() {
  for (const [name, weight] of Object.entries(state.weights)) setRange(byId(`weight-${name}`), weight, 1);
  setRange(byId("variety"), state.diversity, 2);
}

function setRange(range, value, digits) {
  range.value = String(value);
  range.nextElementSibling.textContent = value.toFixed(digits);
}

/** Look for what the address says. */
function restore() {
  const { titles, weights, diversity, tags, name, opened } = readAddress();
  const before = lookedFor();
  setTitles(titles);
  Object.assign(state, { weights, diversity, tags, name });
  byId("find-name").value = name;
  showSliders();
  openFrom(opened);
  if (lookedFor() === before) changed(state.limit); // as many titles as there were, when only a title was closed
  else changed();
}

const lookedFor = () => JSON.stringify([searchRequest(), state.name]);

/** Links within the page move the focus; the address is not theirs. */
function setUpInnerLinks() {
  for (const link of document.querySelectorAll("a[href^='#']")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      byId(link.hash.slice(1)).focus();
    });
  }
}

function start() {
  setUpTheme();
  setUpExamples();
  setUpSliders();
  setUpStage();
  setUpResults(openTitle);
  byId("find-name").addEventListener("input", (event) => {
    state.name = event.target.value.trim();
    changed();
  });
  byId("find").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => {
    changed(Math.min(state.limit + EACH_PAGE, MOST));
  });
  setUpInnerLinks();
  onChange(refresh);
  addEventListener("popstate", restore);
  restore();
  setUpServer();
}

start();
