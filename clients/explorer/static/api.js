// The explorer's own server: JSON both ways, errors with the text that it gave.

const WHOLE_BYTES = 1 << 20; // of files up to here all is looked at, of others the end

export class ApiError extends Error {
  constructor(kind, text, status) {
    super(text);
    this.kind = kind;
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("ExplorerGone", "The explorer itself does not answer. Is `resonance explore` still running?", 0);
  }
  if (response.ok) return response.json();
  throw await errorOf(response);
}

/** The error in an answer. */
export async function errorOf(response) {
  try {
    const { error } = await response.json();
    return new ApiError(error.kind, error.text, response.status);
  } catch {
    return new ApiError("Unknown", `The explorer answered ${response.status}.`, response.status);
  }
}

function post(path, body, signal = null) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

export const media = (key, what) => `/media/${key}/${what}`;
export const posterOf = (key, at, large = false) =>
  media(key, `poster?at=${at.toFixed(1)}${large ? "&large=true" : ""}`);

export const getLibrary = () => ask("/api/library");
export const getServer = () => ask("/api/server");
export const getDetails = (key) => ask(`/api/titles/${key}`);
export const getPlayback = (key) => ask(media(key, "playback"));
export const search = (body) => post("/api/search", body);
export const matches = (key, body) => post(`/api/titles/${key}/matches`, body);
export const addText = (text, signal) => post("/api/examples/text", { text }, signal);

export function browse({ name, tags, limit }) {
  const query = new URLSearchParams({ name, limit });
  for (const tag of tags) query.append("tag", tag);
  return ask(`/api/titles?${query}`);
}

export async function addFile(file, signal) {
  await checkReadable(file);
  const name = [...file.name].slice(-120).join(""); // its end tells the kind
  const headers = { "Content-Type": "application/octet-stream", "X-Example-Name": encodeURIComponent(name) };
  return ask("/api/examples/file", { method: "POST", headers, body: file.slice(0, file.size), signal });
}

/**
 * A file that changed since it was chosen is refused by the browser, as is a folder; `fetch` would not say which. Firefox
 * sends what is there now under the length of then: a longer one is cut off, and for a shorter one the server waits.
 */
async function checkReadable(file) {
  const looked = file.size > WHOLE_BYTES ? file.slice(-1) : file;
  try {
    const { byteLength } = await looked.arrayBuffer();
    if (byteLength === looked.size) return;
  } catch {
    // said below
  }
  throw new ApiError("UnreadableFile", `${file.name} cannot be read: it changed or went away since it was chosen, or is a folder. Choose the file again.`, 0);
}
