// Titles as posters, in the order in which the server ranks them.

import { posterOf } from "./api.js";
import { addTitle, middleOf } from "./examples.js";
import { MODALITIES, byId, calmMotion, clock, el, figure, icon, kindOf } from "./dom.js";

const MOVE_MS = 260;
const cards = new Map(); // by key, so that a card that only moves keeps its picture and the focus
let openTitle = () => {};
let openKey = null; // of the title that plays

/** `opened` is called with a title and the second to play from. */
export function setUpResults(opened) {
  openTitle = opened;
}

/** Show titles; of hits also ranks and reasons. */
export function showTitles(titles, { ranked }) {
  const list = byId("results");
  const before = new Map([...list.children].map((node) => [node, node.getBoundingClientRect()]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const place = [...list.children].findIndex((node) => node.contains(focused));
  const scale = scaleOf(titles);
  const wanted = titles.map((title, at) => {
    const card = cards.get(title.key) ?? newCard();
    cards.set(title.key, card);
    card.fill(title, ranked ? at + 1 : null, scale);
    return card.node;
  });
  wanted.forEach((node, at) => {
    if (list.children[at] !== node) list.insertBefore(node, list.children[at] ?? null);
  });
  while (list.children.length > wanted.length) list.lastElementChild.remove();
  for (const [key, card] of cards) if (!card.node.isConnected) cards.delete(key);
  markOpen(openKey);
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  if (focused && !focused.isConnected) (wanted[place]?.querySelector(".poster") ?? byId("results-title")).focus();
  if (!calmMotion()) slide(wanted, before);
}

/** Cards glide from where they were (FLIP: first, last, invert, play). */
function slide(nodes, before) {
  for (const node of nodes) {
    const was = before.get(node);
    if (!was) continue;
    const is = node.getBoundingClientRect();
    const [x, y] = [was.left - is.left, was.top - is.top];
    if (x || y) node.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: MOVE_MS, easing: "ease-out" });
  }
}

/** Mark the title that plays. */
export function markOpen(key) {
  openKey = key;
  for (const [other, card] of cards) {
    if (other === key) card.node.setAttribute("aria-current", "true");
    else card.node.removeAttribute("aria-current");
  }
}

/** Put the focus back on a title's poster, as when its player is closed. */
export function focusPoster(key) {
  (cards.get(key)?.poster ?? byId("results")).focus();
}

function newCard() {
  let title = null;
  const poster = el("button", { type: "button", class: "poster", onclick: () => openTitle(title, startOf(title)) });
  const name = el("h3", {});
  const facts = el("p", { class: "facts" });
  const badge = el("ul", { class: "badge", role: "list" });
  const sentence = el("p", { class: "sentence" });
  const more = el("button", { type: "button", class: "quiet", onclick: () => addTitle(title, false) }, "More like this");
  const less = el("button", { type: "button", class: "quiet", onclick: () => addTitle(title, true) }, "Less like this");
  const node = el("li", { class: "card" }, poster, name, facts, badge, sentence, el("div", { class: "actions" }, more, less));
  let shownPoster = null;

  function fill(given, rank, scale) {
    title = given;
    const at = startOf(title);
    name.textContent = title.name;
    name.title = title.media_id;
    facts.textContent = factsOf(title);
    const shown = posterOf(title.key, middleOf(title.segment) ?? Math.min(4, (title.duration_s ?? 0) / 2));
    if (shown !== shownPoster) poster.replaceChildren(pictureOf(title, shown));
    shownPoster = shown;
    for (const mark of poster.querySelectorAll(".rank, .time")) mark.remove();
    if (rank) poster.append(el("span", { class: "rank", "aria-hidden": "true" }, String(rank)));
    if (title.duration_s) poster.append(el("span", { class: "time", "aria-hidden": "true" }, clock(at)));
    poster.setAttribute("aria-label", title.duration_s ? `Play ${title.name} from ${clock(at)}` : `Open ${title.name}`);
    more.setAttribute("aria-label", `More like ${title.name}`);
    less.setAttribute("aria-label", `Less like ${title.name}`);
    badge.hidden = sentence.hidden = !title.shares;
    if (title.shares) {
      badge.setAttribute("aria-label", `Score ${figure(title.score)}, the sum of`);
      badge.replaceChildren(...title.shares.map((share) => shareOf(share, scale)));
      sentence.textContent = title.sentence;
    }
  }
  return { node, poster, fill };
}

const startOf = (title) => title.segment?.start_s ?? 0;

function factsOf(title) {
  const has = Object.entries(MODALITIES).filter(([name]) => title.present[name]).map(([, label]) => label.toLowerCase());
  const folder = title.media_id.split("/").at(-2); // two titles may share a name
  const parts = [folder, title.duration_s ? clock(title.duration_s) : null, has.join(", "), title.language, title.attributes.date, ...title.tags.slice(0, 3)];
  return parts.filter(Boolean).join(" · ");
}

function pictureOf(title, url) {
  const blank = (kind, text) => el("span", { class: "blank" }, icon(kind), text);
  if (!title.present.visual) return kindOf(title) === "sound" ? blank("sound", "Sound") : blank("text", "Words");
  const image = el("img", { src: url, alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  image.addEventListener("error", () => image.replaceWith(blank("away", "Its media is away")));
  return image;
}

/** Where values stand in a track, in percent: one scale for all bars and ticks of a page, 0 always on it. */
function scaleOf(titles) {
  const values = titles.flatMap((title) => title.shares ?? []).flatMap(({ value, usual }) => [value, usual ?? 0]);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  return (value) => (high > low ? (100 * (value - low)) / (high - low) : 0);
}

/** A mark within a track, from one place to another, in percent. */
function markAt(name, from, to = from) {
  const mark = el("span", { class: name });
  mark.style.left = `${from.toFixed(1)}%`;
  if (to !== from) mark.style.width = `${(to - from).toFixed(1)}%`;
  return mark;
}

function shareOf(share, scale) {
  const label = MODALITIES[share.modality];
  const [zero, at] = [scale(0), scale(share.value)];
  const track = el("span", { class: "track", "aria-hidden": "true" }, markAt("bar", Math.min(zero, at), Math.max(zero, at)), markAt("zero", zero));
  if (share.usual !== null) track.append(markAt("usual", scale(share.usual)));
  const said = [share.inferred ? ", inferred: the title has none" : "", share.usual === null ? "" : `, usually ${figure(share.usual)}`].join("");
  const shown = el("span", { class: "label" }, label);
  return el(
    "li",
    { class: "share", "data-modality": share.modality, "data-inferred": share.inferred, title: `${label} ${figure(share.value)}${said}` },
    shown,
    track,
    el("span", { class: "value" }, figure(share.value), el("span", { class: "unseen" }, said)),
  );
}
