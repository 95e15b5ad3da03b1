// Elements, times and figures. Text only ever becomes text: no function here takes markup.

const SVG = "http://www.w3.org/2000/svg";

export const MODALITIES = { visual: "Picture", audio: "Sound", transcript: "Words" };

export function byId(id) {
  return document.getElementById(id);
}

/** An element with properties (`class`, `on…` handlers, attributes) and children, strings as text. */
export function el(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** The same in SVG. */
export function svg(name, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, name), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** 75 as 1:15, 3675 as 1:01:15. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A score: two digits, a true minus. */
export function figure(value) {
  const text = value.toFixed(2);
  return (text === "-0.00" ? "0.00" : text).replace("-", "−");
}

/** "1 title", "12 titles". */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** Say it to people who listen to the page. The same text twice is said twice. */
export function announce(text) {
  const region = byId("announcer");
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/** Text of a region that is listened to: set anew every few seconds, the same would be said again each time. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function calmMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

const SHAPES = {
  image: ["M4 5h16v14H4z", "M4 16l5-5 4 4 2.5-2.5L20 17", "M15.5 9.2h.01"],
  video: ["M3 6h18v12H3z", "M10 9.2v5.6l5-2.8z"],
  sound: ["M4 12h.5", "M8 9v6", "M12 5v14", "M16 8v8", "M20 12h-.5"],
  history: ["M12 4a8 8 0 1 1-7.4 5", "M4 4.5V9h4.5", "M12 8v4.5l3 2"],
  text: ["M5 6h14", "M5 10h14", "M5 14h10", "M5 18h6"],
  away: ["M4 4l16 16", "M3 6h3M10 6h11v11", "M18 18H3V8"],
};

/** A drawing of a kind of media, for show. */
export function icon(kind) {
  const drawing = svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", fill: "none" });
  for (const d of SHAPES[kind] ?? SHAPES.video) {
    drawing.append(svg("path", { d, stroke: "currentColor", "stroke-width": "1.7", "stroke-linecap": "round", "stroke-linejoin": "round" }));
  }
  return drawing;
}

/** What a title mostly is, from what is present in it. */
export function kindOf(title) {
  if (title.present.visual) return "video";
  return title.present.audio ? "sound" : "text";
}
