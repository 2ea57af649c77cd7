// Teaching: what the marks ask for, a new network made of them, and which one is in use.

import { Comparison } from "./compare.js";
import { ask, listen, make, percent, picture, plural, sentence, tell } from "./dom.js";
import { prototype } from "./explain.js";

const MOST_SHOWN = 24;

export class Teaching {
  // `switched` is called when another network is in use.
  constructor(view, switched) {
    this.view = view;
    this.switched = switched;
    this.plan = make("div", { class: "plan" });
    this.start = make("button", { type: "button", class: "main", onclick: () => this.teach() }, "Teach");
    this.stop = make("button", { type: "button", hidden: true, onclick: () => this.end() }, "Stop");
    this.progress = make("progress", { max: 1, hidden: true, "aria-label": "How far teaching is" });
    this.status = make("p", { class: "status", role: "status" });
    this.problem = make("p", { class: "wrong", role: "alert", hidden: true });
    this.versions = make("div", { class: "versions" });
    this.comparison = new Comparison();
    view.replaceChildren(
      make("h2", {}, "Teach it"),
      this.plan,
      make("div", { class: "bar tools" }, this.start, this.stop, this.progress, this.status),
      this.problem,
      this.versions,
      this.comparison.element,
    );
  }

  async open() {
    const state = await ask("/api/teach");
    this.showPlan(state.plan);
    this.show(state);
    this.showVersions(state);
    if (state.running && !this.following) this.follow();
  }

  showPlan({ forget, misplaced, tolerated, required, split, added, doubtful, can_replace: replaces, problem }) {
    const changes = [
      [misplaced.filter((number) => !required.includes(number)), "comes from a place outlined as one that must not count; a part of another place takes its place", "come from places outlined as ones that must not count; parts of other places take their places"],
      [forget.filter((number) => !required.includes(number) && !misplaced.includes(number)), replaces ? "will go; parts of other training pictures that do not resemble it take its place" : "will go", replaces ? "will go; parts of other training pictures that do not resemble them take their places" : "will go"],
      [required, "moves to the place that was outlined for it or its class", "move to the places that were outlined for them or their classes"],
      [split, "becomes two, one for each of the two things that it means", "become two each"],
      [added, "was outlined where its class must look; a further part is added that looks there", "were outlined where their class must look; a further part is added for each"],
    ].filter(([numbers]) => numbers.length);
    const all = [...new Set(changes.flatMap(([numbers]) => numbers))];
    this.start.disabled = !all.length || Boolean(problem);
    this.plan.replaceChildren(
      all.length
        ? make("ul", {}, changes.map(([numbers, one, many]) => make("li", {}, `${plural(numbers.length, "part")} ${numbers.length === 1 ? one : many}.`)))
        : problem ? "" : make("p", {}, `Nothing is marked to be changed yet. Under What it learned, mark parts ${replaces ? "“forget” or “split”, or outline where a part should look or what must not count" : "“forget”"}.`),
      problem ? make("p", { class: "wrong" }, sentence(problem)) : "",
      all.length ? make("p", {}, `All other parts stay on the pictures that they come from${doubtful ? `, also the ${plural(doubtful, "doubtful part")}` : ""}.`) : "",
      tolerated.length ? make("p", {}, `${plural(tolerated.length, "part")} ${tolerated.length === 1 ? "comes" : "come"} from where somebody outlined that nothing should count, but ${tolerated.length === 1 ? "is" : "are"} marked “keep”, and will stay.`) : "",
      make("p", { class: "quiet" }, "A new network is made beside this one, which is never changed. Both are compared on the test pictures before you choose."),
      make("div", { class: "thumbs" }, all.slice(0, MOST_SHOWN).map((number) => this.thumb(number))),
      all.length > MOST_SHOWN ? make("p", { class: "quiet" }, `and ${all.length - MOST_SHOWN} more`) : "",
    );
  }

  thumb(number) {
    const frame = make("span", { class: "pic empty" });
    const element = make("figure", { class: "thumb" }, frame, make("figcaption", { class: "quiet" }, `part ${number}`));
    prototype(number).then((found) => {
      const shown = picture(found.photo, `Part ${number}, ${found.class}`, found.ratio);
      shown.draw(found.mask);
      frame.replaceWith(shown.frame);
      element.lastChild.textContent = `${found.class}, part ${number}`;
    }, () => {});
    return element;
  }

  async teach() {
    this.problem.hidden = true;
    this.start.disabled = true;
    try {
      this.show(await ask("/api/teach", { method: "POST" }));
      this.stop.focus();
      await this.follow();
    } catch (error) {
      this.fail(error.message);
      this.start.disabled = false;
    }
  }

  async end() {
    this.stop.disabled = true;
    try {
      await ask("/api/teach/stop", { method: "POST" });
    } catch (error) {
      this.fail(error.message);
    }
  }

  async follow() {
    this.following = true;
    let last = null;
    try {
      await listen("/api/teach/events", {}, (state) => this.show((last = state)));
      const state = await ask("/api/teach");
      this.show(state);
      this.showVersions(state);
      if (last && last.made !== null) await this.compare(last.made);
    } catch (error) {
      this.fail(error.message);
    } finally {
      this.following = false;
    }
  }

  show(state) {
    const ended = this.running && !state.running;
    this.running = state.running;
    this.stop.hidden = this.progress.hidden = !state.running;
    this.stop.disabled = false;
    this.start.hidden = state.running;
    if (ended) this.start.disabled = false;
    this.progress.value = state.share;
    this.status.textContent = state.running || state.words ? `${sentence(state.words || "working")}`.replace(/\.$/, state.running ? " …" : ".") : "";
    if (!state.running && state.made !== null) this.status.textContent = "Done.";
    if (state.error) this.fail(sentence(state.error));
    if (ended) tell(this.status.textContent);
    this.view.dataset.running = String(state.running);
  }

  showVersions({ versions, served }) {
    if (versions.length < 2) {
      this.versions.replaceChildren();
      return;
    }
    this.versions.replaceChildren(
      make("h3", {}, "Networks"),
      make("ul", { class: "list" }, versions.map((each) => {
        const used = each.version === served;
        const score = each.accuracy === null ? "" : `${percent(each.accuracy)} of the ${each.findings ? "answers about all findings of the test pictures" : "test pictures"} right`;
        return make("li", { "data-version": each.version },
          make("strong", {}, each.name), " ",
          make("span", { class: "quiet" }, [score, each.made_from === null ? "" : `made from ${versions[each.made_from].name}`].filter(Boolean).join(", ")),
          make("span", { class: "tools" },
            used ? make("span", { class: "used" }, "in use") : make("button", { type: "button", class: "use", onclick: (event) => this.use(each.version, event.target) }, "Use this one"),
            each.made_from === null ? "" : make("button", { type: "button", onclick: () => this.compare(each.version) }, `Compare with ${versions[each.made_from].name}`)));
      })),
    );
  }

  async compare(version) {
    try {
      await this.comparison.show(version);
      this.comparison.element.querySelector("h3").focus();
    } catch (error) {
      this.fail(error.message);
    }
  }

  async use(version, button) {
    button.disabled = true;
    button.textContent = "Loading …";
    try {
      const state = await ask(`/api/versions/${version}/serve`, { method: "POST" });
      await this.switched();
      await this.open();
      tell(`${state.versions[version].name} is in use now`);
      this.status.textContent = `${state.versions[version].name} is in use now.`;
    } catch (error) {
      this.fail(error.message);
      button.disabled = false;
      button.textContent = "Use this one";
    }
  }

  fail(text) {
    this.problem.textContent = text;
    this.problem.hidden = false;
  }
}
