// Elements, requests with the key, and words for numbers.

const STORED = "protomask-key";

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

export const find = (selector, within = document) => within.querySelector(selector);

export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    sessionStorage.setItem(STORED, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(STORED);
}

export class Problem extends Error {}

// Which network this page shows: the program refuses what is meant for another one.
let version = null;
export function setVersion(given) {
  version = given;
}

async function send(address, { method = "GET", body, words, signal } = {}) {
  const headers = { "x-protomask-key": sessionStorage.getItem(STORED) || "" };
  if (version !== null) headers["x-protomask-version"] = String(version);
  if (words !== undefined) {
    body = JSON.stringify(words);
    headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(address, { method: body === undefined ? method : "POST", body, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The program does not answer. Is it still running?");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Problem(told.error ? sentence(told.error) : `It was refused (${answer.status}).`);
  }
  return answer;
}

export const ask = async (address, options) => (await send(address, options)).json();
export const fetchFile = async (address) => (await send(address)).blob();

// Calls `hear` with each line of a stream of JSON.
export async function listen(address, options, hear) {
  const reader = (await send(address, options)).body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) hear(JSON.parse(line));
    if (done) return;
  }
}

// Text as a sentence, but for the name of a file at its beginning, which stays as it is: `name`, or what has a dot or a slash.
export function sentence(text, name = "") {
  const own = name.trim().slice(-120); // no longer in what the program says
  const named = (own && text.startsWith(own)) || /^[^\s:]*[./\\][^\s:]/.test(text);
  return (named ? text : text.charAt(0).toUpperCase() + text.slice(1)) + (/[.!?]$/.test(text) ? "" : ".");
}
export const plural = (count, one, many = one + "s") => `${count} ${count === 1 ? one : many}`;

export function percent(share) {
  const value = 100 * share;
  if (value > 99 && value < 100) return "over 99 %";
  if (value > 0 && value < 1) return "under 1 %";
  return `${Math.round(value)} %`;
}

// A probability: none is certain, and nothing impossible, also where the computer's numbers end.
export const chance = (probability) => (probability > 0.99 ? "over 99 %" : probability < 0.01 ? "under 1 %" : percent(probability));

export const points = (value, signed = true) =>
  (signed && value >= 0 ? "+" : "") + value.toFixed(1).replace("-", "−").replace("−0.0", "0.0");

const SVG = "http://www.w3.org/2000/svg";

function path(kind, d) {
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("class", kind);
  line.setAttribute("d", d);
  return line;
}

// A picture with a coloured map and an outline over it; `draw` changes them.
export function picture(photo, words, ratio) {
  const image = make("img", { src: photo, alt: words, class: "photo", draggable: false });
  const map = make("img", { alt: "", class: "map", hidden: true });
  const lines = document.createElementNS(SVG, "svg");
  lines.setAttribute("preserveAspectRatio", "none");
  lines.setAttribute("aria-hidden", "true");
  const frame = make("span", { class: "pic" }, image, map, lines);
  frame.style.aspectRatio = String(ratio || 1);
  frame.style.setProperty("--ratio", ratio || 1);
  if (ratio < 1) frame.style.setProperty("--tall", ratio); // which keeps tall ones from filling the page
  const draw = (found, { heat = false } = {}) => {
    map.hidden = !(heat && found);
    if (heat && found) map.src = found.map;
    lines.replaceChildren();
    if (!found || !found.outline) return;
    lines.setAttribute("viewBox", `0 0 ${found.size[0]} ${found.size[1]}`);
    lines.append(path("casing", found.outline), path("outline", found.outline));
  };
  return { frame, image, draw };
}

export function tell(text) {
  find("#say").textContent = text;
}
