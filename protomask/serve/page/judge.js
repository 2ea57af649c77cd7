// What the network learned to look for: every part, and what people think of it.

import { Lasso } from "./lasso.js";
import { ask, find, make, percent, picture, plural, tell } from "./dom.js";
import { prototype } from "./explain.js";

const VERDICTS = [["keep", "Keep"], ["doubtful", "Doubtful"], ["forget", "Forget"], ["split", "Split"]];
const SAID = { keep: "keep", doubtful: "doubtful", forget: "forget", split: "split, it means two things" };
const OUTLINED = { evidence: "where this part should look", class: "where its class must look", distraction: "what must not count" };
const FLAGS = { background: "lies mostly beside the object", duplicate: "nearly the same as another part", common: "found in most pictures, also of other classes" };
const INITIALS = "protomask-initials";

const choices = (verdicts) => {
  const words = verdicts.map(([value]) => value);
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
};

// A note that was typed and not sent yet stays: it differs from the one that was shown last, which is the default.
function showNote(field, note) {
  if (field.value.trim() === field.defaultValue) field.value = note;
  field.defaultValue = note;
}

export class Judging {
  constructor(view) {
    this.view = view;
    this.cards = new Map();
    this.watcher = new IntersectionObserver((seen) => {
      for (const each of seen) if (each.isIntersecting) this.load(Number(each.target.dataset.number));
    }, { rootMargin: "400px" });
  }

  async open() {
    if (this.cards.size) return;
    const [parts, review] = await Promise.all([ask("/api/prototypes"), ask("/api/review")]);
    this.review = review;
    // Some networks can only forget: what they cannot do is not asked for.
    this.replaces = review.can_replace;
    this.verdicts = VERDICTS.filter(([value]) => value !== "split" || this.replaces);
    const classes = [...new Set(parts.map((each) => each.class))];
    this.initials = make("input", { type: "text", maxLength: 12, size: 5, value: localStorage.getItem(INITIALS) || "", autocomplete: "off",
      oninput: () => {
        localStorage.setItem(INITIALS, this.initials.value.trim());
        this.refresh();
      } });
    this.kind = make("select", { onchange: () => this.filter() },
      make("option", { value: "" }, "all classes"), classes.map((each) => make("option", { value: each }, each)));
    this.which = make("select", { onchange: () => this.filter() },
      [["", "all"], ["none", "not judged yet"], ...this.verdicts, ["flagged", "with a remark"]].map(([value, text]) =>
        make("option", { value }, text.toLowerCase())));
    this.count = make("span", { class: "quiet", role: "status" });
    this.list = make("div", { class: "parts" }, parts.map((each) => this.card(each)));
    this.view.replaceChildren(
      make("h2", {}, "What it learned to look for"),
      make("p", {}, `Each picture is from training; the outline is the part that counts. Say what should stay, and what should be forgotten${this.replaces ? " or split because it means two things" : ""}: marks are kept with the network, with your initials, and nothing is lost when several people judge.`),
      make("div", { class: "bar tools" },
        make("label", {}, "Your initials ", this.initials),
        make("label", {}, "Class ", this.kind),
        make("label", {}, "Show ", this.which),
        this.count,
        make("label", { class: "file" }, "Add marks from a file ", make("input", { type: "file", accept: ".json", onchange: (event) => this.join(event.target) }))),
      this.list,
    );
    this.filter();
    this.refresh();
  }

  close() {
    this.watcher.disconnect();
    this.cards.clear();
    this.view.replaceChildren();
  }

  card({ prototype: number, class: name, flags }) {
    const frame = make("div", { class: "frame" }, make("span", { class: "pic empty" }));
    const choice = this.verdicts.map(([value, text]) =>
      make("label", { class: `verdict-${value}` },
        make("input", { type: "radio", name: `verdict-${number}`, value, onchange: () => this.judge(number) }), text));
    const note = make("input", { type: "text", placeholder: "Note", maxLength: 500, "aria-label": `Note on part ${number}`, onchange: () => this.judge(number, true) });
    const others = make("ul", { class: "others quiet" });
    const problem = make("p", { class: "wrong", role: "alert", hidden: true });
    const mark = make("button", { type: "button", disabled: true, hidden: !this.replaces, onclick: () => this.outline(number) }, "Outline a part");
    const element = make("article", { class: "part", "aria-label": `Part ${number}, ${name}` },
      frame,
      make("h3", {}, name, " ", make("span", { class: "quiet" }, `part ${number}`)),
      flags.map((flag) => make("p", { class: "quiet remark", "data-flag": flag }, FLAGS[flag] || flag)),
      make("fieldset", {}, make("legend", { class: "hidden" }, `Part ${number} should`), choice),
      note, mark, problem, others);
    element.dataset.number = number;
    this.cards.set(number, { element, frame, note, others, problem, mark, name, flags });
    this.watcher.observe(element);
    return element;
  }

  async load(number) {
    const card = this.cards.get(number);
    if (card.found) return;
    card.found = true;
    this.watcher.unobserve(card.element);
    try {
      const found = await prototype(number);
      const shown = picture(found.photo, `${found.class}, seen in training${found.mask.outline ? "; the part is at" : ":"} ${found.mask.where}`, found.ratio);
      shown.draw(found.mask);
      card.frame.replaceChildren(shown.frame);
      card.lasso = new Lasso(shown.frame, found.ratio, (corners) => this.outlined(number, corners));
      card.mark.disabled = false;
      this.regions(number);
      if (!found.mask.outline) card.frame.append(make("p", { class: "quiet remark" }, found.mask.where));
      const remark = card.element.querySelector("[data-flag=background]");
      if (found.outside !== null && remark) remark.textContent = `${FLAGS.background} (${percent(found.outside)} of its map)`;
      else if (found.outside !== null) {
        card.element.querySelector("h3").after(make("p", { class: "quiet" }, `${percent(found.outside)} of its map lies beside the object`));
      }
    } catch (error) {
      this.fail(card, error.message);
    }
  }

  async send(number, judgement) {
    const card = this.cards.get(number);
    const by = this.initials.value.trim();
    if (!by) {
      this.fail(card, "Your initials come first: write them at the top.");
      this.initials.focus();
      return false;
    }
    try {
      this.review = await ask("/api/review", { words: { judgements: [{ prototype: number, by, ...judgement }] } });
    } catch (error) {
      this.fail(card, error.message);
      return false;
    }
    card.problem.hidden = true;
    this.refresh();
    return true;
  }

  fail(card, text) {
    card.problem.textContent = text;
    card.problem.hidden = false;
  }

  async judge(number, onlyNote = false) {
    const card = this.cards.get(number);
    const chosen = find("input[type=radio]:checked", card.element);
    if (!chosen) {
      if (onlyNote) this.fail(card, `Choose ${choices(this.verdicts)}; the note goes with it.`);
      return;
    }
    if (await this.send(number, { verdict: chosen.value, note: card.note.value.trim() })) tell(`Part ${number}: ${chosen.value}`);
    else this.refresh();
  }

  outline(number) {
    const { lasso, mark, asked } = this.cards.get(number);
    if (asked) asked.remove();
    mark.setAttribute("aria-pressed", String(lasso.turn()));
    tell("Draw around a part; or move with the arrow keys, set corners with the space bar, and end with Enter.");
  }

  outlined(number, corners) {
    const card = this.cards.get(number);
    const save = async (meaning) => {
      if (await this.send(number, { region: corners, meaning, note: card.note.value.trim() })) done();
    };
    const done = () => {
      asked.remove();
      card.lasso.clear();
      card.mark.setAttribute("aria-pressed", "false");
      card.mark.focus();
    };
    const asked = make("div", { class: "asked" },
      make("button", { type: "button", onclick: () => save("evidence") }, "This part should look here"),
      make("button", { type: "button", onclick: () => save("class") }, `Some part of “${card.name}” must look here`),
      make("button", { type: "button", onclick: () => save("distraction") }, "This must not count"),
      make("button", { type: "button", class: "quiet-button", onclick: done }, "Cancel"));
    if (card.asked) card.asked.remove(); // of an outline that was drawn before this one
    card.asked = asked;
    card.mark.after(asked);
    asked.firstChild.focus();
  }

  async withdraw(number, { corners, meaning }) {
    if (await this.send(number, { region: corners, meaning, withdrawn: true })) {
      tell("The outline was withdrawn.");
      this.cards.get(number).mark.focus();
    }
  }

  // `bright` is the outline that a button is about.
  regions(number, bright = null) {
    const { lasso } = this.cards.get(number);
    if (lasso) lasso.show(this.review.regions.filter((each) => each.prototype === number), bright);
  }

  refresh() {
    for (const [number, card] of this.cards) {
      const { words = [], verdict = "", disputed = false } = this.review.prototypes[number] || {};
      const own = words.find((each) => each.by === this.initials.value.trim());
      for (const radio of card.element.querySelectorAll("input[type=radio]")) radio.checked = Boolean(own) && radio.value === own.verdict;
      showNote(card.note, own ? own.note : "");
      card.verdict = verdict;
      card.element.dataset.verdict = verdict;
      const regions = this.review.regions.filter((each) => each.prototype === number);
      card.others.replaceChildren(
        ...words.map((each) => make("li", {}, `${each.by}: ${SAID[each.verdict]}${each.note ? ` – ${each.note}` : ""}`)),
        ...regions.map((each) => make("li", {}, `${each.by} outlined ${OUTLINED[each.meaning]}${each.note ? ` – ${each.note}` : ""} `,
          each.by === this.initials.value.trim() ? make("button", { type: "button", class: "quiet-button withdraw", onclick: () => this.withdraw(number, each), onfocus: () => this.regions(number, each), onmouseenter: () => this.regions(number, each), onmouseleave: () => this.regions(number), onblur: () => this.regions(number) }, "Withdraw") : "")),
        ...(disputed ? [make("li", { class: "wrong" }, "Opinions differ, so it counts as doubtful.")] : []));
      this.regions(number);
    }
    this.view.dispatchEvent(new Event("judged"));
  }

  filter() {
    let shown = 0;
    for (const card of this.cards.values()) {
      const which = this.which.value;
      const fits = !which || (which === "none" ? !card.verdict : which === "flagged" ? card.flags.length : card.verdict === which);
      card.element.hidden = !(fits && (!this.kind.value || card.name === this.kind.value));
      shown += card.element.hidden ? 0 : 1;
    }
    this.count.textContent = `${plural(shown, "part")} shown`;
  }

  async join(input) {
    try {
      const given = JSON.parse(await input.files[0].text());
      this.review = await ask("/api/review", { words: { judgements: given.judgements } });
      this.refresh();
      tell("The marks were added.");
      this.count.textContent = "The marks were added.";
    } catch (error) {
      this.count.textContent = error instanceof SyntaxError ? "This file holds no marks." : error.message;
    }
    input.value = "";
  }
}
