// Two networks beside each other: accuracy, parts that were replaced, pictures that are answered differently.

import { ask, make, percent, picture, plural } from "./dom.js";

const KINDS = [
  ["wrong", "Right before, wrong now"],
  ["right", "Wrong before, right now"],
  ["other", "Wrong before and now, but differently"],
];

const WHY = { forgotten: "forgotten", misplaced: "came from what must not count", required: "moved to the outlined place", split: "split in two" };

const inPoints = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}`;
const oneDecimal = (share) => `${(100 * share).toFixed(1)} %`;

export class Comparison {
  constructor() {
    this.element = make("section", { class: "comparison", "aria-label": "Comparison", hidden: true });
  }

  async show(version) {
    const found = await ask(`/api/versions/${version}/comparison`);
    this.element.replaceChildren(
      make("h3", { tabIndex: -1 }, `${found.after.name}, compared with ${found.before.name}`),
      make("p", { class: "verdict-line" }, found.verdict),
      figures(found),
      parts(found),
      answers(found),
    );
    this.element.hidden = false;
    this.element.dataset.version = version;
  }
}

function row(name, before, after, change) {
  return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, before), make("td", {}, after), make("td", {}, change));
}

function figures({ findings, accuracy, difference, outside, became_wrong: wrong, became_right: right, answers_changed: changed, images }) {
  const known = difference.low !== null && difference.high !== null;
  const span = known ? `${inPoints(difference.mean)} (${inPoints(difference.low)} to ${inPoints(difference.high)})` : inPoints(difference.mean);
  const rows = [row(findings ? "Test pictures with all findings right" : "Test pictures right", oneDecimal(accuracy.before), oneDecimal(accuracy.after), span)];
  if (outside && outside.before !== null && outside.after !== null) {
    rows.push(row("Evidence beside the object", percent(outside.before), percent(outside.after), inPoints(outside.after - outside.before)));
  }
  return make("div", {},
    make("table", { class: "figures" },
      make("thead", {}, make("tr", {}, ["", "before", "now", "change"].map((each) => make("th", { scope: "col" }, each)))),
      make("tbody", {}, rows)),
    make("p", { class: "quiet" },
      (known ? "Changes in percentage points; in brackets where the true change lies with 95 % confidence. " : "") +
      `${plural(changed, "picture")} of ${images} ${changed === 1 ? "is" : "are"} answered differently: ${right} right that were wrong, ${wrong} wrong that were right.`));
}

function part(found, words) {
  const shown = picture(found.photo, `${found.class}, part ${found.prototype}, ${words}`, found.ratio);
  shown.draw(found.mask);
  return make("figure", { class: "thumb" }, shown.frame, make("figcaption", { class: "quiet" }, found.mask.outline ? words : `${words}: ${found.mask.where}`));
}

function parts({ pairs }) {
  if (!pairs.length) return "";
  return make("div", {},
    make("h3", {}, "Parts that changed"),
    make("div", { class: "pairs" }, pairs.map((pair) =>
      make("article", { class: "pair", "aria-label": `Part ${pair.before.prototype}, ${pair.before.class}` },
        make("h4", {}, pair.before.class, " ", make("span", { class: "quiet" }, `part ${pair.before.prototype}${WHY[pair.why] ? `, ${WHY[pair.why]}` : ""}`)),
        make("div", { class: "sides" },
          part(pair.before, "before"),
          pair.after.length ? pair.after.map((each) => part(each, pair.after.length > 1 ? `now, part ${each.prototype}` : "now")) : make("p", { class: "quiet gone" }, "removed"))))));
}

function answers({ changed, answers_changed: count }) {
  if (!count) return "";
  const groups = KINDS.map(([kind, title]) => [title, changed.filter((each) => each.kind === kind), kind]).filter(([, found]) => found.length);
  const listed = changed.filter((each) => each.photo).length;
  return make("div", {},
    make("h3", {}, "Pictures that are answered differently"),
    groups.map(([title, found, kind]) => make("section", { class: `answers became-${kind}`, "aria-label": title },
      make("h4", {}, `${title} (${found.length})`),
      make("div", { class: "thumbs" }, found.filter((each) => each.photo).map((each) =>
        make("figure", { class: "thumb answer" },
          make("img", { src: each.photo, alt: each.image, class: "plain", loading: "lazy" }),
          make("figcaption", {},
            make("span", {}, `${each.before} → `, make("strong", {}, each.after)),
            make("span", { class: "quiet" }, `truly ${each.truth}`),
            make("span", { class: "quiet name", title: each.image }, each.image))))))),
    listed < count ? make("p", { class: "quiet" }, `${count - listed} more are not shown here.`) : "");
}
