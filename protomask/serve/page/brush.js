// A brush that hides parts of a picture, by pointer or by keyboard.

import { make, tell } from "./dom.js";

const STEP = 0.03;

export class Brush {
  constructor(frame, ratio, changed) {
    this.frame = frame;
    this.ratio = ratio;
    this.changed = changed;
    this.strokes = [];
    this.cursor = [0.5, 0.5];
    this.canvas = make("canvas", { class: "paint", width: 600, height: Math.max(1, Math.round(600 / ratio)), hidden: true, tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Brush: arrow keys move it, the space bar hides what is under it");
    frame.append(this.canvas);
    this.size = make("input", { type: "range", min: 2, max: 20, value: 6, "aria-label": "Size of the brush" });
    this.fill = make(
      "select",
      { "aria-label": "What stands in the hidden part", onchange: () => this.tell() },
      make("option", { value: "blur" }, "blurred"),
      make("option", { value: "zero" }, "plain grey"),
    );
    this.switch = make("button", { type: "button", "aria-pressed": "false", onclick: () => this.turn() }, "Hide a part");
    this.more = make(
      "span",
      { class: "more", hidden: true },
      make("label", {}, "Size ", this.size),
      make("label", {}, "Hidden part ", this.fill),
      make("button", { type: "button", onclick: () => this.undo() }, "Undo"),
      make("button", { type: "button", onclick: () => this.clear() }, "Show all again"),
    );
    this.tools = make("div", { class: "tools" }, this.switch, this.more);
    this.size.addEventListener("input", () => this.draw());
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => this.end());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    for (const focus of ["focus", "blur"]) this.canvas.addEventListener(focus, () => this.draw());
  }

  turn() {
    const on = this.canvas.hidden;
    this.canvas.hidden = !on;
    this.more.hidden = !on;
    this.switch.setAttribute("aria-pressed", String(on));
    this.frame.classList.toggle("brushing", on);
    if (on) {
      tell("Paint over the picture, or use the arrow keys and the space bar.");
      this.canvas.focus();
    } else this.clear();
  }

  get radius() {
    return Number(this.size.value) / 100;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const clip = (value) => Math.min(1.05, Math.max(-0.05, value));
    return [clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)];
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.keyed = false;
    this.stroke = { points: [this.place(event)], radius: this.radius };
    this.strokes.push(this.stroke);
    this.draw();
  }

  move(event) {
    if (!this.stroke || this.stroke.points.length >= 4000) return;
    this.stroke.points.push(this.place(event));
    this.draw();
  }

  end() {
    if (!this.stroke) return;
    this.stroke = null;
    this.tell();
  }

  key(event) {
    this.keyed = true;
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (moves[event.key]) {
      this.cursor = this.cursor.map((value, axis) => Math.min(1, Math.max(0, value + moves[event.key][axis])));
    } else if (event.key === " " || event.key === "Enter") {
      this.strokes.push({ points: [[...this.cursor]], radius: this.radius });
      this.tell();
    } else if (event.key === "Escape") {
      this.turn();
      this.switch.focus();
    } else return;
    event.preventDefault();
    this.draw();
  }

  undo() {
    this.strokes.pop();
    this.draw();
    this.tell();
  }

  clear() {
    this.strokes = [];
    this.draw();
    this.tell();
  }

  tell() {
    this.changed({ strokes: this.strokes.slice(-300), fill: this.fill.value });
  }

  draw() {
    const { width, height } = this.canvas;
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    pen.lineCap = pen.lineJoin = "round";
    pen.strokeStyle = pen.fillStyle = "rgb(110,118,126)";
    for (const { points, radius } of this.strokes) {
      pen.lineWidth = 2 * radius * width;
      pen.beginPath();
      points.forEach(([x, y], at) => (at ? pen.lineTo(x * width, y * height) : pen.moveTo(x * width, y * height)));
      if (points.length === 1) pen.lineTo(points[0][0] * width + 0.1, points[0][1] * height);
      pen.stroke();
    }
    if (this.keyed && document.activeElement === this.canvas) {
      pen.strokeStyle = "#fff";
      pen.lineWidth = 3;
      pen.beginPath();
      pen.arc(this.cursor[0] * width, this.cursor[1] * height, this.radius * width, 0, 7);
      pen.stroke();
      pen.strokeStyle = "#000";
      pen.lineWidth = 1;
      pen.stroke();
    }
  }
}
