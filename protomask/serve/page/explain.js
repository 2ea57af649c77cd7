// One card per picture: what it is taken for, why, and what changes when a part is hidden.

import { Brush } from "./brush.js";
import { ask, chance, fetchFile, listen, make, percent, picture, plural, points, sentence, tell } from "./dom.js";

const MOST_BYTES = 48 * 2 ** 20;
const prototypes = new Map();

export function prototype(number) {
  if (!prototypes.has(number)) {
    const found = ask(`/api/prototypes/${number}`);
    found.catch(() => prototypes.delete(number));
    prototypes.set(number, found);
  }
  return prototypes.get(number);
}

export const forgetPrototypes = () => prototypes.clear();

const verdict = (asked) => `${asked.finding}: ${asked.found ? "found" : "not found"}`;

// What the pictures below are reasons of; those for a finding that is not found are no reasons of the answer.
function reasons(asked, isRun) {
  if (asked.finding && !asked.found) return `What speaks most for ${asked.predicted}, but is not enough`;
  return isRun ? `Why ${asked.predicted}` : `Where it sees ${asked.predicted}`;
}

// What was found and has no reasons below.
function others(found) {
  if (!found.length) return null;
  return make("p", { class: "also" }, "Also found, without reasons here: ", make("strong", {}, found.map((each) => `${each.name} (${chance(each.probability)})`).join(", ")));
}

export class Card {
  constructor(file, about, changed) {
    this.file = file;
    this.about = about;
    this.changed = changed;
    this.name = file.name || "picture";
    this.stop = new AbortController();
    this.lines = new Map();
    this.status = make("p", { class: "status", role: "status" }, "Sending …");
    this.progress = make("progress", { max: 1, hidden: true, "aria-label": "How far the outlines are" });
    this.body = make("div", { class: "body" });
    this.element = make(
      "article",
      { class: "card", "aria-label": this.name },
      make(
        "header",
        {},
        make("h2", { title: this.name }, this.name),
        make("button", { type: "button", class: "quiet-button", onclick: () => this.remove() }, "Remove"),
      ),
      make("div", { class: "state" }, this.status, this.progress),
      this.body,
    );
    this.send(file);
  }

  async send(file) {
    if (file.size > MOST_BYTES) return this.fail("This file is larger than 48 MB. Make it smaller.");
    const address = `/api/pictures?name=${encodeURIComponent(this.name)}`;
    try {
      await listen(address, { body: file, signal: this.stop.signal }, (event) => this.hear(event));
      if (!this.answer && !this.failed) this.fail("The program stopped before it answered.");
      if (this.answer && !this.failed) this.finish();
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error.message);
    }
  }

  hear(event) {
    if (event.error) this.fail(sentence(event.error, this.name));
    else if (event.answer) this.show(event.answer);
    else if (event.progress !== undefined) this.grow(event);
    else if (event.waiting !== undefined) this.wait(event.waiting);
  }

  wait(ahead) {
    const before = ahead ? `${plural(ahead, "picture")} before this one` : "next";
    this.status.textContent = this.answer ? `The outlines by ${this.about.localizer} come after: ${before}` : `Waiting: ${before}`;
  }

  fail(text) {
    this.failed = true;
    this.progress.hidden = true;
    this.status.textContent = text;
    this.element.classList.add("failed");
    this.changed();
    tell(`${this.name}: ${text}`);
  }

  finish() {
    this.progress.hidden = true;
    this.status.textContent = `The outlines are by ${this.about.localizer}.`;
    this.element.dataset.done = "true";
    this.changed();
  }

  grow({ progress, masks }) {
    this.progress.hidden = false;
    if (progress > 0) this.progress.value = progress;
    this.status.textContent = `The first outlines are quick ones; those by ${this.about.localizer} are being made …`;
    for (const [slot, mask] of Object.entries(masks)) {
      const line = this.lines.get(Number(slot));
      if (!line) continue;
      line.mask = mask;
      line.pic.draw(mask);
      line.where.textContent = mask.where;
      if (this.chosen === line) this.point(line);
    }
  }

  show(answer) {
    this.answer = answer;
    // A glow would hide the shades of grey that such pictures are read by.
    if (this.heat === undefined) this.heat = !answer.grey;
    const ratio = answer.width / answer.height;
    this.large = picture(answer.photo, `The picture ${answer.name}`, ratio);
    this.large.frame.classList.add("large");
    this.brush = new Brush(this.large.frame, ratio, (asked) => this.hide(asked));
    this.legend = make("p", { class: "quiet legend" });
    this.result = make("div", { class: "chances" });
    this.after = make("div", { class: "after", hidden: true, "aria-live": "polite" });
    this.body.replaceChildren(
      make(
        "div",
        { class: "two" },
        make("div", { class: "left" }, this.large.frame, this.after, this.legend, this.brush.tools),
        make("div", { class: "right" }, this.result, others(answer.others), answer.questions.map((each) => this.question(each, ratio))),
      ),
      make(
        "footer",
        {},
        make("button", { type: "button", onclick: () => this.save() }, "Save as a picture"),
      ),
    );
    this.chances(answer.classes);
    this.point([...this.lines.values()][0]);
    this.element.dataset.answered = "true";
    this.changed();
    const first = answer.questions[0];
    const more = first.finding && first.found ? answer.questions.length - 1 + answer.others.length : 0;
    tell(`${answer.name}: ${first.finding ? `${verdict(first)}, probability` : `${first.predicted},`} ${chance(first.probability)}${more ? `; ${more} more found` : ""}`);
  }

  chances(classes) {
    const first = this.answer.questions[0];
    this.result.replaceChildren(
      first.finding
        ? make("h3", { class: "verdict" }, verdict(first), ", ", make("span", {}, `probability ${chance(first.probability)}`))
        : make("h3", { class: "verdict" }, first.predicted, " ", make("span", {}, chance(first.probability))),
      make(
        "ul",
        { class: "bars" },
        classes.slice(0, 5).map((each) => {
          const bar = make("span", { class: "bar-line" });
          bar.style.width = `${100 * each.probability}%`;
          return make(
            "li",
            {},
            make("span", {}, each.name),
            make("span", { class: "track" }, bar),
            make("span", { class: "number" }, chance(each.probability)),
          );
        }),
      ),
    );
  }

  question(asked, ratio) {
    const isRun = this.about.kind === "prototypes";
    const rows = [make("h3", {}, reasons(asked, isRun)), ...asked.matches.map((each) => this.line(each, ratio, isRun))];
    if (isRun) {
      rows.push(
        make(
          "p",
          { class: "quiet sum" },
          `All else it looks for adds ${points(asked.other_points)}. Together ${points(asked.points, false)} points; ` +
            (asked.finding ? "it is found above 0." : `${asked.runner_up} has ${points(asked.runner_up_points, false)}. The most points win.`),
        ),
      );
    }
    if (asked.counter.length) {
      const rival = asked.runner_up_probability;
      const likely = rival === null || rival === undefined ? "" : ` (${chance(rival)})`;
      const next = asked.finding
        ? reasons({ finding: asked.runner_up, predicted: asked.runner_up, found: rival > 0.5 }, isRun)
        : isRun ? `What speaks for ${asked.runner_up}` : `Where it would see ${asked.runner_up}`;
      rows.push(
        make("h3", {}, next + likely),
        ...asked.counter.map((each) => this.line(each, ratio, isRun)),
      );
    }
    return make("section", { class: "why" }, rows);
  }

  line(match, ratio, isRun) {
    const here = picture(this.answer.photo, `Part of ${this.answer.name}`, ratio);
    here.draw(match.quick);
    const where = make("span", { class: "quiet" }, match.quick ? match.quick.where : "");
    const line = { match, pic: here, where, mask: null };
    this.lines.set(match.slot, line);
    const button = make(
      "button",
      {
        type: "button",
        class: "match",
        "aria-pressed": "false",
        onclick: () => this.point(line),
        onmouseenter: () => this.point(line),
        onfocus: () => this.point(line),
      },
      make("span", { class: "half" }, here.frame, where),
    );
    line.button = button;
    if (isRun) {
      const there = make("span", { class: "half" }, make("span", { class: "pic empty" }));
      prototype(match.prototype).then((found) => {
        const shown = picture(found.photo, `${found.class}, seen in training`, found.ratio);
        shown.draw(found.mask);
        const words = `${found.class}, seen in training`;
        there.replaceChildren(shown.frame, make("span", { class: "quiet" }, found.mask.outline ? words : `${words}: ${found.mask.where}`));
      }, (error) => there.replaceChildren(make("span", { class: "quiet" }, `The example cannot be shown. ${error.message}`)));
      line.points = make("span", { class: "points" }, points(match.points));
      button.append(make("span", { class: "like" }, "looks like"), there, line.points);
    }
    button.setAttribute(
      "aria-label",
      isRun
        ? `This part looks like part ${match.prototype} of ${match.class}: ${points(match.points)} points. Show it large.`
        : `Where it sees ${match.class}. Show it large.`,
    );
    return button;
  }

  point(line) {
    if (!line) return;
    this.chosen = line;
    for (const each of this.lines.values()) each.button.setAttribute("aria-pressed", String(each === line));
    const { quick } = line.match;
    const glow = quick ? this.about.glow : { name: this.about.localizer, shows: this.about.shows };
    const outline = line.mask || quick;
    if (quick && outline) this.large.draw({ ...outline, map: quick.map }, { heat: this.heat });
    else this.large.draw(outline, { heat: this.heat });
    const bright = make("label", {}, make("input", {
      type: "checkbox",
      checked: this.heat,
      onchange: (event) => {
        this.heat = event.target.checked;
        this.point(this.chosen);
      },
    }), ` show ${glow.name} as a glow`);
    const drawn = [line.mask && this.about.shows, outline && (this.heat || !line.mask) && glow.shows].filter(Boolean);
    this.legend.replaceChildren(
      !outline || !outline.outline ? `Nothing is outlined here${outline ? `: ${outline.where}` : ""}. ` : `Outline: ${line.mask ? this.about.localizer : `the strongest place of ${glow.name}`}. `,
      outline && this.heat ? `Glow: ${glow.name}. ` : "",
      outline ? bright : "",
      ...[...new Set(drawn)].map((each) => make("span", { class: "shows" }, each)),
    );
  }

  async hide(asked) {
    const request = (this.asked = Symbol("asked"));
    if (!asked.strokes.length) {
      this.after.hidden = true;
      this.large.image.src = this.answer.photo;
      for (const line of this.lines.values()) if (line.points) line.points.textContent = points(line.match.points);
      return;
    }
    try {
      const found = await ask(`/api/pictures/${this.answer.picture}/hide`, { words: asked });
      if (request === this.asked) this.compare(found);
    } catch (error) {
      if (request !== this.asked) return;
      this.after.hidden = false;
      this.after.replaceChildren(make("p", { class: "wrong" }, error.message));
    }
  }

  compare(found) {
    this.after.hidden = false;
    this.after.replaceChildren(
      make("p", {}, `With ${percent(found.share)} of the picture hidden:`),
      make(
        "table",
        {},
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, ""), make("th", { scope: "col" }, "before"), make("th", { scope: "col" }, "now"))),
        make(
          "tbody",
          {},
          found.classes.map((each) =>
            make(
              "tr",
              { class: each.after > each.before + 0.005 ? "up" : each.after < each.before - 0.005 ? "down" : "" },
              make("th", { scope: "row" }, each.name),
              make("td", {}, chance(each.before)),
              make("td", {}, chance(each.after)),
            ),
          ),
        ),
      ),
    );
    for (const [slot, similarity] of Object.entries(found.similarity)) {
      const line = this.lines.get(Number(slot));
      const now = line.match.weight * similarity;
      const shown = points(now) === points(line.match.points) ? [] : [make("span", { class: "now" }, ` now ${points(now)}`)];
      line.points.replaceChildren(points(line.match.points), ...shown);
    }
  }

  async save() {
    try {
      const file = await fetchFile(`/api/pictures/${this.answer.picture}/panel`);
      const link = make("a", { href: URL.createObjectURL(file), download: `${this.name.replace(/\.[^.]*$/, "")}-explained.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  remove() {
    this.stop.abort();
    this.element.remove();
    this.removed = true;
    this.changed();
  }
}
