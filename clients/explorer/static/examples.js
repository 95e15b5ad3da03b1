// The examples: dropped, chosen, pasted or typed; each with a weight, removable, for or against.
//
// A part is { id, source: "example" | "title", key, name, kind, weight, against, status: "working" | "ready" |
// "failed", fault, preview, embed }. `embed` asks the server for what is not known yet: the key of an example that
// was given, or what a title of the address is called.

import { addFile, addText, getDetails, posterOf } from "./api.js";
import { announce, byId, el, icon, kindOf } from "./dom.js";
import { changed, state } from "./state.js";

const AGAINST_WEIGHT = 0.5;
let nextId = 1;

export function setUpExamples() {
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => {
    takeFiles(event.target.files);
    event.target.value = "";
  });
  byId("words").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("words-text");
    if (field.value.trim()) takeText(field.value.trim());
    else field.focus();
  });
  byId("words-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("words").requestSubmit();
    }
  });
  byId("clear").addEventListener("click", () => {
    for (const part of [...state.parts]) drop(part);
    changed();
    show();
    announce("No examples. All titles are shown.");
    byId("choose").focus();
  });
  setUpDropping();
}

function setUpDropping() {
  const over = byId("over");
  let depth = 0;
  const isOurs = (event) => event.dataTransfer && [...event.dataTransfer.types].some((t) => t === "Files" || t === "text/plain");
  addEventListener("dragenter", (event) => {
    if (!isOurs(event)) return;
    depth += 1;
    over.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (isOurs(event)) depth = Math.max(0, depth - 1);
    if (depth === 0) over.hidden = true;
  });
  addEventListener("dragover", (event) => isOurs(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    depth = 0;
    over.hidden = true;
    if (!isOurs(event)) return;
    event.preventDefault();
    takeTransfer(event.dataTransfer);
  });
  addEventListener("paste", (event) => {
    const typing = event.target.closest?.("input, textarea");
    if (!typing && event.clipboardData) takeTransfer(event.clipboardData);
  });
}

function takeTransfer(transfer) {
  if (transfer.files.length) takeFiles(transfer.files);
  else if (transfer.getData("text/plain").trim()) takeText(transfer.getData("text/plain").trim());
}

function takeFiles(files) {
  forgetName();
  for (const file of files) {
    const kind = ["image", "video", "audio", "text"].find((k) => file.type.startsWith(`${k}/`)) ?? "video";
    add({
      source: "example",
      name: file.name,
      kind: kind === "audio" ? "sound" : kind,
      preview: kind === "image" ? URL.createObjectURL(file) : null,
      embed: async (signal) => keyAndKind(await addFile(file, signal)),
    });
  }
}

function takeText(text) {
  forgetName();
  add({ source: "example", name: `“${text.length > 90 ? `${text.slice(0, 89)}…` : text}”`, kind: "text", embed: async (signal) => keyAndKind(await addText(text, signal)) });
}

const keyAndKind = ({ key, kind }) => ({ key, kind });

/** A name that was looked for has served its turn once there is a new example: the ranking is shown. */
export function forgetName() {
  state.name = byId("find-name").value = "";
}

/** A title of the library as an example, or as one to be less like. */
export function addTitle(title, against) {
  const same = state.parts.find((part) => part.source === "title" && part.key === title.key);
  if (same) drop(same);
  const part = { id: nextId++, source: "title", weight: against ? AGAINST_WEIGHT : 1, against, status: "ready", ...shownTitle(title) };
  state.parts.push(part);
  forgetName();
  announce(`${against ? "Less" : "More"} like ${title.name}.`);
  changed();
  show();
}

/** What a part shows of a title. */
function shownTitle(title) {
  const at = middleOf(title.segment) ?? title.segment?.start_s ?? 0;
  return { key: title.key, name: title.name, kind: kindOf(title), preview: title.present.visual ? posterOf(title.key, at) : null };
}

/** Exactly these titles as examples, each { key, weight, against }; other examples stay. */
export function setTitles(wanted) {
  const isWanted = (part) => part.source !== "title" || wanted.some(({ key }) => key === part.key);
  for (const part of state.parts.filter((part) => !isWanted(part))) drop(part);
  for (const title of wanted) {
    const held = state.parts.find((part) => part.source === "title" && part.key === title.key);
    if (held) Object.assign(held, title);
    else add({ source: "title", name: "A title", kind: "video", preview: null, ...title, embed: async () => shownTitle(await getDetails(title.key)) });
  }
  show();
}

/** The history that the explorer was started with, as an example. */
export function addViewer(name) {
  byId("viewer").hidden = true;
  state.parts.push({ id: nextId++, source: "history", key: "", name: `What ${name} watched`, kind: "history", weight: 1, against: false, status: "ready", preview: null });
  announce(`With what ${name} watched.`);
  changed();
  show();
}

/** The middle of a segment in seconds, null without a clock. */
export function middleOf(segment) {
  return segment && segment.start_s !== null && segment.end_s !== null ? (segment.start_s + segment.end_s) / 2 : null;
}

function add(given) {
  const part = { id: nextId++, key: null, weight: 1, against: false, status: "working", fault: null, ...given };
  state.parts.push(part);
  show();
  embed(part);
}

async function embed(part) {
  part.status = "working";
  part.fault = null;
  part.aborter = new AbortController();
  show();
  announce(`Reading ${part.name}`);
  try {
    const held = await part.embed(part.aborter.signal);
    Object.assign(part, held, { status: "ready" });
  } catch (error) {
    if (error.name === "AbortError") return;
    Object.assign(part, { status: "failed", fault: error.message });
    announce(`${part.name} cannot be used: ${error.message}`);
  }
  if (!state.parts.includes(part)) return;
  show();
  changed();
}

/** Examples that the server no longer has are sent once more. */
export async function embedAgain() {
  const gone = state.parts.filter((part) => part.source === "example" && part.status === "ready");
  await Promise.all(gone.map(embed));
}

function drop(part) {
  part.aborter?.abort();
  if (part.preview?.startsWith("blob:")) URL.revokeObjectURL(part.preview);
  state.parts.splice(state.parts.indexOf(part), 1);
  if (part.source === "history") byId("viewer").hidden = false;
}

/** Draw the list anew, and leave the focus where it was. */
export function show() {
  const list = byId("examples");
  const held = document.activeElement?.closest?.("#examples") ? document.activeElement.id : null;
  byId("mix").hidden = state.parts.length === 0;
  list.replaceChildren(...state.parts.map(shown));
  if (held) byId(held)?.focus();
}

const SOURCE_NAMES = { title: "title of the library", history: "a viewer’s history" };
const KIND_NAMES = { image: "picture", video: "clip", sound: "sound", text: "words" };

function shown(part) {
  const thumb = el("span", { class: "thumb", "aria-hidden": "true" });
  if (part.preview) {
    const image = el("img", { src: part.preview, alt: "", onerror: () => thumb.replaceChildren(icon(part.kind)) });
    thumb.append(image);
  } else thumb.append(icon(part.kind));
  const what = part.status === "working" ? "being read…" : part.against ? "less like this title" : SOURCE_NAMES[part.source] ?? KIND_NAMES[part.kind];
  const item = el(
    "li",
    { class: "example", "data-against": part.against, "data-status": part.status, "aria-busy": part.status === "working" ? "true" : null },
    thumb,
    el("p", { class: "name", title: part.name }, part.name, el("small", {}, what)),
    el("button", { type: "button", class: "quiet remove", id: `remove-${part.id}`, "aria-label": `Take away ${part.name}`, onclick: () => remove(part) }, "×"),
  );
  if (part.status === "ready") item.append(amount(part));
  if (part.status === "failed") {
    item.append(el("p", { class: "fault" }, part.fault, " ", el("button", { type: "button", class: "quiet", id: `again-${part.id}`, onclick: () => embed(part) }, "Try again")));
  }
  return item;
}

function amount(part) {
  const output = el("output", { "aria-live": "off" }, `${part.against ? "−" : ""}${part.weight.toFixed(1)}`);
  const range = el("input", {
    type: "range", id: `amount-${part.id}`, min: "0.1", max: "2", step: "0.1", value: String(part.weight),
    "aria-label": `Weight of ${part.name}`,
    oninput: (event) => {
      part.weight = Number(event.target.value);
      output.textContent = `${part.against ? "−" : ""}${part.weight.toFixed(1)}`;
      changed();
    },
  });
  return el("span", { class: "amount" }, part.against ? "minus" : "weight", range, output);
}

function remove(part) {
  const at = state.parts.indexOf(part);
  drop(part);
  show();
  changed();
  announce(`${part.name} was taken away.`);
  const next = state.parts[Math.min(at, state.parts.length - 1)];
  (next ? byId(`remove-${next.id}`) : byId("choose")).focus();
}
