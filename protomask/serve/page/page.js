// Starts the page: the key, what is served, the views, and where pictures come in.

import { ask, find, make, plural, setVersion, takeKey } from "./dom.js";
import { Card, forgetPrototypes } from "./explain.js";
import { Judging } from "./judge.js";
import { Teaching } from "./teach.js";

const cards = [];
let about = null;

function changed() {
  for (let at = cards.length - 1; at >= 0; at -= 1) if (cards[at].removed) cards.splice(at, 1);
  find("#bar").hidden = !cards.length;
  find("#drop").classList.toggle("small", cards.length > 0);
  const done = cards.filter((each) => each.answer || each.failed).length;
  find("#counted").textContent = done < cards.length ? `${done} of ${plural(cards.length, "picture")}` : plural(cards.length, "picture");
  find("#beside").closest("label").hidden = cards.length < 2;
}

function take(files) {
  for (const file of files) {
    const card = new Card(file, about, changed);
    cards.unshift(card);
    find("#cards").prepend(card.element);
  }
  changed();
}

function watchInputs() {
  const drop = find("#drop");
  for (const [button, input] of [["#choose", "#files"], ["#camera", "#shot"]]) {
    find(button).addEventListener("click", () => find(input).click());
    find(input).addEventListener("change", (event) => {
      take([...event.target.files]);
      event.target.value = "";
    });
  }
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
  find("#clear").addEventListener("click", () => [...cards].forEach((each) => each.remove()));
  find("#beside").addEventListener("change", (event) => find("#cards").classList.toggle("beside", event.target.checked));
  if (!matchMedia("(pointer: coarse)").matches) find("#camera").hidden = true;
}

export function show(name) {
  for (const view of document.querySelectorAll("main > section")) view.hidden = view.id !== `view-${name}`;
  for (const button of find("#views").children) button.setAttribute("aria-current", button.dataset.view === name ? "page" : "false");
}

async function learnAbout() {
  setVersion(null);
  about = await ask("/api/about");
  setVersion(about.version);
  document.title = `${about.title} – protomask`;
  find("#title").textContent = about.title;
  find("#about").textContent =
    (about.several ? `Looks for ${plural(about.classes.length, "finding")}` : `Tells ${plural(about.classes.length, "class", "classes")} apart`) +
    (about.prototypes ? `, by ${plural(about.prototypes, "part")} that it learned to look for.` : ".");
}

function addViews() {
  const judging = new Judging(find("#view-parts"));
  const teaching = new Teaching(find("#view-teach"), async () => {
    await learnAbout();
    forgetPrototypes();
    judging.close();
    const files = cards.map((each) => each.file).reverse();
    [...cards].forEach((each) => each.remove());
    take(files);
  });
  const open = async (name) => {
    show(name);
    try {
      if (name === "parts") await judging.open();
      if (name === "teach") await teaching.open();
    } catch (error) {
      if (name === "teach") teaching.fail(error.message);
      else find("#view-parts").replaceChildren(make("p", { class: "wrong" }, error.message));
    }
  };
  const views = [["pictures", "Pictures"], ["parts", "What it learned"], ["teach", "Teach"]];
  find("#views").append(...views.map(([name, text]) => {
    const button = make("button", { type: "button", onclick: () => open(name) }, text);
    button.dataset.view = name;
    return button;
  }));
  find("#views").hidden = false;
}

async function begin() {
  if (!takeKey()) {
    find("#locked").hidden = false;
    return;
  }
  try {
    await learnAbout();
  } catch (error) {
    find("#locked").textContent = error.message;
    find("#locked").hidden = false;
    return;
  }
  watchInputs();
  if (about.prototypes) addViews();
  show("pictures");
  document.body.dataset.ready = "true";
}

begin();
