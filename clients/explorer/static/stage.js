// The title that is open: player, arcs, why it was found.

import { writeAddress } from "./address.js";
import { getDetails, getPlayback, matches } from "./api.js";
import { makeArcs } from "./arcs.js";
import { announce, byId, calmMotion, el, icon } from "./dom.js";
import { addTitle } from "./examples.js";
import { makePlayer } from "./player.js";
import { focusPoster, markOpen } from "./results.js";
import { ready, searchRequest, state } from "./state.js";

let open = null; // { title, player, arcs, why }

/** Open a title and play it from `at` seconds. */
export async function openTitle(title, at) {
  close();
  state.opened = { key: title.key, at };
  writeAddress();
  const mine = (open = { title, player: null, arcs: null, why: el("p", { class: "sentence" }) });
  const stage = byId("stage");
  const how = el("p", { class: "how", role: "status" });
  const screen = el("div", { class: "screen" }, el("div", { class: "away" }, "Opening…"));
  const arcs = el("div", { class: "arcs" });
  const heading = el("h2", { id: "stage-title", tabindex: "-1" }, title.name);
  const actions = el(
    "div",
    { class: "actions" },
    el("button", { type: "button", class: "plain", onclick: () => addTitle(title, false) }, "More like this"),
    el("button", { type: "button", class: "plain", onclick: () => addTitle(title, true) }, "Less like this"),
  );
  stage.replaceChildren(
    el("div", { class: "line" }, heading, closer()),
    el("div", { class: "inside alone" }, el("div", { class: "screen" }, screen, how, mine.why, actions), arcs),
  );
  stage.hidden = false;
  markOpen(title.key);
  heading.focus({ preventScroll: true });
  stage.scrollIntoView({ block: "start", behavior: calmMotion() ? "auto" : "smooth" });
  showPlayer(mine, screen, how, at);
  showArcs(mine, arcs, at);
}

async function showPlayer(mine, screen, how, at) {
  try {
    const playback = await getPlayback(mine.title.key);
    if (open !== mine) return;
    mine.player = makePlayer(mine.title, playback, at, (time_s) => mine.arcs?.setTime(time_s), (line) => (how.textContent = line));
    screen.replaceChildren(mine.player.node);
  } catch (error) {
    if (open !== mine) return;
    screen.replaceChildren(el("div", { class: "away" }, icon("away"), "Its media is away"));
    how.textContent = error.message;
  }
}

async function showArcs(mine, holder, at) {
  try {
    const details = await getDetails(mine.title.key);
    if (open !== mine) return;
    mine.arcs = makeArcs(details, (time_s) => mine.player?.seek(time_s));
    if (mine.arcs.node) fill(holder, mine.arcs.node);
    mine.arcs.setTime(at);
    await refreshMatches();
  } catch (error) {
    if (open === mine) fill(holder, el("p", { class: "failure" }, error.message));
  }
}

/** What stands beside the player. WebKit does not look again at `:has(:empty)`, so a class tells that it is alone. */
function fill(holder, node) {
  holder.replaceChildren(node);
  holder.parentElement.classList.remove("alone");
}

/** How well each moment matches what is looked for now. */
export async function refreshMatches() {
  const mine = open;
  if (!mine?.arcs) return;
  if (!ready().length) {
    mine.arcs.setScores(null);
    mine.why.textContent = "";
    return;
  }
  try {
    const { scores, sentence } = await matches(mine.title.key, searchRequest());
    if (open !== mine) return;
    mine.arcs.setScores(scores);
    mine.why.textContent = sentence ?? "";
  } catch {
    mine.arcs.setScores(null); // the results say what is wrong
  }
}

/** Open, or leave open, the title that the address names; null: none. */
export async function openFrom(opened) {
  if (opened !== null && opened.key === open?.title.key) return;
  const left = open?.title.key;
  close();
  if (left && opened === null) focusPoster(left);
  state.opened = opened;
  if (opened === null) return;
  try {
    const title = await getDetails(opened.key);
    if (state.opened === opened) openTitle(title, opened.at);
  } catch (error) {
    if (state.opened === opened) showMissing(error.message);
  }
}

function showMissing(text) {
  const heading = el("h2", { id: "stage-title", tabindex: "-1" }, "It cannot be opened");
  byId("stage").replaceChildren(el("div", { class: "line" }, heading, closer()), el("p", { class: "failure" }, text));
  byId("stage").hidden = false;
  heading.focus();
}

const closer = () => el("button", { type: "button", class: "quiet", onclick: dismiss }, "Close");

function dismiss() {
  const title = open?.title;
  close();
  writeAddress();
  if (title) announce(`${title.name} was closed.`);
  focusPoster(title?.key);
}

function close() {
  open?.player?.stop();
  open = null;
  state.opened = null;
  byId("stage").hidden = true;
  byId("stage").replaceChildren();
  markOpen(null);
}

export function setUpStage() {
  byId("stage").addEventListener("keydown", (event) => {
    if (event.key === "Escape") dismiss();
  });
}
