// A title's media, played from a second. The stored file where the browser can, else short clips of it.

import { errorOf, media, posterOf } from "./api.js";
import { clock, el, icon } from "./dom.js";

/**
 * @param title as from the server. @param playback as from /media/KEY/playback. @param at seconds.
 * @param onTime called with seconds of the title. @param say called with a line about how it plays.
 */
export function makePlayer(title, playback, at, onTime, say) {
  if (playback.kind === "image") return still(title);
  if (playback.kind === "text") return words(playback);
  return new Player(title, playback, at, onTime, say);
}

function still(title) {
  const image = el("img", { class: "still", alt: title.name, src: posterOf(title.key, 0, true) });
  return { node: image, seek() {}, stop() {} };
}

function words(playback) {
  const node = playback.excerpt
    ? el("blockquote", { tabindex: "0", "aria-label": "How the text begins" }, playback.excerpt)
    : el("div", { class: "heard" }, icon("text"), "Words with times");
  return { node, seek() {}, stop() {} };
}

class Player {
  constructor(title, playback, at, onTime, say) {
    Object.assign(this, { title, playback, say });
    const isVideo = playback.kind === "video";
    this.element = el(isVideo ? "video" : "audio", { controls: true, preload: "metadata", playsinline: isVideo, "aria-label": title.name });
    this.node = isVideo ? this.element : el("div", { class: "screen" }, el("div", { class: "heard" }, icon("sound"), title.name), this.element);
    this.clipFrom = null; // seconds of the title at which the clip begins; null: the file itself plays
    this.element.addEventListener("timeupdate", () => onTime(this.now()));
    this.element.addEventListener("seeked", () => onTime(this.now()));
    this.element.addEventListener("error", () => this.failed());
    this.element.addEventListener("ended", () => this.goOn());
    const plays = playback.direct && this.element.canPlayType(playback.direct);
    if (plays) this.playFile(at);
    else this.playClip(at);
  }

  now() {
    return (this.clipFrom ?? 0) + this.element.currentTime;
  }

  playFile(at) {
    this.clipFrom = null;
    this.say("");
    this.element.src = `${media(this.title.key, "file")}#t=${at.toFixed(2)}`;
    this.play();
  }

  playClip(at) {
    this.clipFrom = Math.round(at * 10) / 10;
    const length = Math.round(this.playback.clip_length_s);
    this.say(`This browser cannot play the file itself, so ${length} s of it at a time are converted, from ${clock(at)} on.`);
    this.element.src = media(this.title.key, `clip?at=${this.clipFrom.toFixed(1)}`);
    this.play();
  }

  play() {
    // a browser may refuse to start sound that nobody asked for; then the controls do
    this.element.play().catch(() => {});
  }

  seek(wanted) {
    const at = Math.max(0, Math.min(wanted, (this.title.duration_s ?? Infinity) - 1)); // the end has nothing to show
    if (this.clipFrom === null) this.element.currentTime = at;
    else if (at >= this.clipFrom && at < this.clipFrom + (this.element.duration || 0) - 0.5) this.element.currentTime = at - this.clipFrom;
    else this.playClip(at);
    if (this.element.paused) this.play();
  }

  goOn() {
    const next = this.clipFrom === null ? Infinity : this.clipFrom + this.element.duration;
    if (next < (this.title.duration_s ?? 0) - 1) this.playClip(next);
  }

  async failed() {
    if (!this.element.getAttribute("src")) return; // it was closed
    if (this.clipFrom === null) {
      this.playClip(this.element.currentTime || Number(this.element.src.split("#t=")[1]) || 0);
      return;
    }
    const response = await fetch(this.element.src);
    this.say(response.ok ? "The clip does not play in this browser." : (await errorOf(response)).message);
  }

  stop() {
    this.element.pause();
    this.element.removeAttribute("src");
    this.element.load();
  }
}
