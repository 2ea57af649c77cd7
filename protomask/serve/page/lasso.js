// Outlines a part of a picture, by pointer or by keyboard.

import { make } from "./dom.js";

const LONGER = 400;
const STEP = 0.03;

export class Lasso {
  constructor(frame, ratio, done) {
    this.done = done;
    this.corners = [];
    this.kept = [];
    this.cursor = [0.5, 0.5];
    const [width, height] = [Math.min(1, ratio), Math.min(1, 1 / ratio)].map((share) => Math.max(1, Math.round(LONGER * share)));
    this.canvas = make("canvas", { class: "lasso", width, height, tabIndex: -1 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Outline: arrow keys move, the space bar sets a corner, Enter ends");
    frame.append(this.canvas);
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.end());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  turn() {
    this.on = !this.on;
    this.corners = [];
    this.canvas.classList.toggle("on", this.on);
    this.canvas.tabIndex = this.on ? 0 : -1;
    if (this.on) this.canvas.focus();
    this.draw();
    return this.on;
  }

  clear() {
    this.on = true;
    this.turn();
  }

  show(regions, bright = null) {
    this.kept = regions;
    this.bright = bright;
    this.draw();
  }

  begin(event) {
    if (!this.on || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drawing = true;
    this.corners = [];
    this.move(event);
  }

  move(event) {
    if (!this.drawing || this.corners.length >= 900) return;
    const box = this.canvas.getBoundingClientRect();
    const clip = (value) => Math.min(1, Math.max(0, value));
    this.corners.push([clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)]);
    this.draw();
  }

  end() {
    if (!this.drawing) return;
    this.drawing = false;
    this.draw(); // closed now
    this.finish();
  }

  finish() {
    if (this.corners.length < 3) return;
    this.done(this.corners.map((corner) => corner.map((value) => Math.round(1e4 * value) / 1e4)));
  }

  key(event) {
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    this.keyed = true;
    if (moves[event.key]) this.cursor = this.cursor.map((value, axis) => Math.min(1, Math.max(0, value + moves[event.key][axis])));
    else if (event.key === " ") this.corners.push([...this.cursor]);
    else if (event.key === "Enter") this.finish();
    else if (event.key === "Escape") this.clear();
    else return;
    event.preventDefault();
    this.draw();
  }

  draw() {
    const { width, height } = this.canvas;
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    pen.lineWidth = 3;
    const line = (corners, color, closed) => {
      pen.strokeStyle = color;
      pen.beginPath();
      corners.forEach(([x, y], at) => (at ? pen.lineTo(x * width, y * height) : pen.moveTo(x * width, y * height)));
      if (closed) pen.closePath();
      pen.stroke();
    };
    for (const each of this.kept) {
      const { corners, meaning } = each;
      pen.lineWidth = each === this.bright ? 8 : 3;
      pen.setLineDash(meaning === "distraction" ? [8, 6] : []);
      line(corners, { evidence: "#7dffb0", class: "#e0a8ff", distraction: "#ffb35c" }[meaning], true);
    }
    pen.lineWidth = 3;
    pen.setLineDash([]);
    if (this.corners.length) line(this.corners, "#fff", !this.drawing);
    const [x, y] = this.cursor;
    const [wide, high] = [8 / width, 8 / height];
    if (this.on && this.keyed) line([[x - wide, y], [x + wide, y], [x, y], [x, y - high], [x, y + high]], "#ff0");
  }
}
