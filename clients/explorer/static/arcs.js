// Arcs of a title over its time, in SVG. The whole is a slider: arrows step, a click goes there.

import { clock, el, figure, svg } from "./dom.js";

const ROW = 50; // px a row: a line of text, then the curve
const CURVE = 27;
const MATCH_ROW = 54;
const FOOT = 20;

/**
 * @param title with `segments`, `arcs` and `duration_s`. @param onSeek called with seconds.
 * Gives { node, setTime(s), setScores(list) }; node is null where the title has no clock.
 */
export function makeArcs(title, onSeek) {
  const timed = title.segments.filter((s) => s.start_s !== null && s.end_s > s.start_s);
  const length = Math.max(title.duration_s ?? 0, ...timed.map((s) => s.end_s));
  if (!timed.length || !(length > 0)) return { node: null, setTime() {}, setScores() {} };
  const view = { title, timed, length, scores: null, time: 0, width: 600 };
  const timeline = el("div", {
    class: "timeline", role: "slider", tabindex: "0", "aria-label": `Time in ${title.name}`,
    "aria-valuemin": "0", "aria-valuemax": String(Math.round(length)), "aria-orientation": "horizontal",
  });
  const tableHolder = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Arcs as a table" });
  const details = el("details", {}, el("summary", {}, "The arcs as a table"), tableHolder);
  const node = el("div", { class: "arcs" }, timeline, details);

  function draw() {
    view.drawing = drawn(view);
    timeline.replaceChildren(view.drawing);
    setTime(view.time);
    if (details.open) tableHolder.replaceChildren(table(view, onSeek));
  }

  function setTime(time_s) {
    view.time = Math.min(Math.max(time_s, 0), length);
    const x = (view.time / length) * view.width;
    const head = view.drawing?.querySelector(".playhead");
    head?.setAttribute("x1", x);
    head?.setAttribute("x2", x);
    timeline.setAttribute("aria-valuenow", String(Math.round(view.time)));
    timeline.setAttribute("aria-valuetext", spoken(view));
  }

  function go(time_s) {
    setTime(time_s);
    onSeek(view.time);
  }

  timeline.addEventListener("click", (event) => {
    const box = timeline.getBoundingClientRect();
    go(((event.clientX - box.left) / box.width) * length);
  });
  timeline.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 2, ArrowUp: 2, ArrowLeft: -2, ArrowDown: -2, PageUp: 16, PageDown: -16 }[event.key];
    if (step) go(view.time + step);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(length - 1);
    else return;
    event.preventDefault();
  });
  details.addEventListener("toggle", () => details.open && tableHolder.replaceChildren(table(view, onSeek)));
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== view.width) {
      view.width = width;
      requestAnimationFrame(draw); // drawn now, its height would change while sizes are told, which browsers call an error
    }
  }).observe(timeline);
  draw();
  return {
    node,
    setTime,
    setScores(scores) {
      view.scores = scores;
      draw();
    },
  };
}

function drawn(view) {
  const { title, width, scores } = view;
  const matchRows = scores ? MATCH_ROW : 0;
  const height = matchRows + title.arcs.length * ROW + FOOT;
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  const bottom = height - FOOT;
  if (scores) root.append(...matchBars(view, bottom));
  title.arcs.forEach((arc, at) => root.append(arcRow(view, arc, matchRows + at * ROW)));
  root.append(...ticks(view, bottom));
  root.append(svg("line", { class: "playhead", x1: 0, x2: 0, y1: 0, y2: bottom }));
  return root;
}

function matchBars(view, bottom) {
  const scores = view.title.segments.map((segment, at) => [segment, view.scores[at]]).filter(([s]) => s.start_s !== null && s.end_s > s.start_s);
  const values = scores.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (s) => (s / view.length) * view.width;
  const nodes = [svg("text", { x: 0, y: 12 }, svg("tspan", { class: "name" }, "match of each moment"), svg("tspan", { dx: 6 }, "this title’s least → most"))];
  for (const [segment, value] of scores) {
    const tall = high > low ? 3 + ((value - low) / (high - low)) * (CURVE + 2) : CURVE;
    const best = value === high;
    const place = { x: x(segment.start_s) + 0.5, width: Math.max(x(segment.end_s) - x(segment.start_s) - 1, 1) };
    if (best) nodes.push(svg("rect", { class: "window", ...place, y: MATCH_ROW - 6, height: bottom - MATCH_ROW + 6 }));
    nodes.push(svg("rect", { class: best ? "match best" : "match", ...place, y: MATCH_ROW - 6 - tall, height: tall, rx: 1.5 }));
  }
  return nodes;
}

function arcRow(view, arc, top) {
  const base = top + 17 + CURVE;
  const x = (s) => (s / view.length) * view.width;
  const y = (value) => base - value * CURVE;
  const label = svg("text", { x: 0, y: top + 12 }, svg("tspan", { class: "name" }, arc.name));
  if (arc.low) label.append(svg("tspan", { dx: 6 }, `${arc.low} → ${arc.high}`));
  const row = svg("g", {}, label, svg("line", { class: "base", x1: 0, x2: view.width, y1: base, y2: base }));
  if (!arc.runs.length) {
    row.append(svg("text", { x: view.width / 2, y: y(0.5) + 4, "text-anchor": "middle" }, "not measurable"));
    return row;
  }
  row.append(svg("line", { class: "middle", x1: 0, x2: view.width, y1: y(0.5), y2: y(0.5) }));
  for (const run of arc.runs) {
    const points = run.map(([s, value]) => `${x(s).toFixed(1)},${y(value).toFixed(1)}`);
    const [first, last] = [x(run[0][0]), x(run.at(-1)[0])];
    if (run.length === 1) {
      row.append(svg("circle", { class: "dot", cx: first, cy: y(run[0][1]), r: 3 }));
      continue;
    }
    row.append(svg("path", { class: "area", d: `M${first},${base} L${points.join(" L")} L${last},${base} Z` }));
    row.append(svg("polyline", { class: "arc", points: points.join(" ") }));
  }
  return row;
}

function ticks(view, bottom) {
  const most = Math.max(2, Math.floor(view.width / 90));
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => view.length / s <= most) ?? 14400;
  const nodes = [];
  for (let s = 0; s <= view.length; s += step) {
    const x = (s / view.length) * view.width;
    const anchor = s === 0 ? "start" : x > view.width - 18 ? "end" : "middle";
    nodes.push(svg("text", { x, y: bottom + 15, "text-anchor": anchor }, clock(s)));
  }
  return nodes;
}

/** The value of an arc at a time: linear within a run, and its end's as far as that point's segment goes; else null. */
function valueAt(arc, time_s, segments) {
  const holds = (segment, s) => segment.start_s <= s && s <= segment.end_s;
  for (const run of arc.runs) {
    const next = run.findIndex(([s]) => s >= time_s);
    if (next > 0) {
      const [[a, low], [b, high]] = [run[next - 1], run[next]];
      return low + ((high - low) * (time_s - a)) / (b - a);
    }
    const [s, value] = next === 0 ? run[0] : run.at(-1);
    if (s === time_s || segments.some((segment) => holds(segment, s) && holds(segment, time_s))) return value;
  }
  return null;
}

function spoken(view) {
  const values = view.title.arcs.map((arc) => [arc.name, valueAt(arc, view.time, view.timed)]).filter(([, value]) => value !== null);
  return [clock(view.time), ...values.map(([name, value]) => `${name} ${figure(value)}`)].join(", ");
}

function table(view, onSeek) {
  const heads = ["from", ...(view.scores ? ["match"] : []), ...view.title.arcs.map((arc) => arc.name)];
  const body = el("tbody", {});
  view.title.segments.forEach((segment, at) => {
    if (segment.start_s === null) return;
    const middle = (segment.start_s + segment.end_s) / 2;
    const go = el("button", { type: "button", class: "quiet", "aria-label": `Play from ${clock(segment.start_s)}`, onclick: () => onSeek(segment.start_s) }, clock(segment.start_s));
    const cells = view.title.arcs.map((arc) => valueAt(arc, middle, view.timed));
    if (view.scores) cells.unshift(view.scores[at]);
    body.append(el("tr", {}, el("td", {}, go), ...cells.map((value) => el("td", {}, value === null ? "–" : figure(value)))));
  });
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), body);
}
