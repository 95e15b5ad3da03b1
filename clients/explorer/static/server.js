// The library and the encoder server as they are now: looked at when the page opens, and every few seconds.

import { getLibrary, getServer } from "./api.js";
import { announce, byId, counted, el, setText } from "./dom.js";
import { addViewer, forgetName } from "./examples.js";
import { state } from "./state.js";

const LOOK_MS = 8000;
/** What needs the encoders. */
const ENCODING = ["choose", "words-text"];

export function setUpServer() {
  byId("server-again").addEventListener("click", look);
  setInterval(() => document.visibilityState === "visible" && look(), LOOK_MS);
  lookAtLibrary();
  look();
}

async function lookAtLibrary() {
  try {
    const library = await getLibrary();
    showLibrary(library);
    if (library.viewer !== null) showViewer(library.viewer);
  } catch (error) {
    byId("library-line").textContent = error.message;
  }
}

async function look() {
  try {
    showServer(await getServer());
  } catch (error) {
    showServer({ reachable: false, space_known: false, address: "", said: error.message });
  }
}

function showLibrary(library) {
  byId("library-line").replaceChildren(el("strong", {}, library.name), `, ${counted(library.titles, "title")}`);
  document.title = `${library.name} · Resonance`;
}

function showViewer(name) {
  const button = byId("viewer");
  button.textContent = `Start from what ${name} watched`;
  button.addEventListener("click", () => {
    forgetName();
    addViewer(name);
  });
  addViewer(name);
}

function showServer(server) {
  const line = byId("server-line");
  line.hidden = false;
  line.textContent = server.reachable ? `Encoders at ${server.address}` : "Encoders away";
  line.toggleAttribute("data-away", !server.reachable);
  byId("server-away").hidden = server.reachable;
  const title = server.kind === "SpaceMismatchError" ? "The encoder server is of another space." : "The encoder server is away.";
  setText(byId("server-title"), title);
  byId("server-without").hidden = !server.space_known;
  setText(byId("server-said"), server.said);
  for (const id of ENCODING) byId(id).disabled = !server.reachable;
  byId("words").querySelector("button").disabled = !server.reachable;
  if (state.server.reachable !== server.reachable) {
    announce(server.reachable ? "The encoder server is there again." : title);
  }
  state.server = server;
}
