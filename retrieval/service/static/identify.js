// Identify: a photo comes in, a verdict comes out, with the reference photo beside it.

import { ask } from "/static/api.js";
import { offer } from "/static/adding.js";
import { byId, labelOf, make, nameOf, percent, photo, say, score, tile } from "/static/dom.js";
import { show } from "/static/item.js";
import { state } from "/static/state.js";
import { place } from "/static/threshold.js";

const NEAREST = 12;
let asking = null;
let picture = null;
// The photo whose answer is shown, and the threshold that decided it.
let shown = null;

for (const id of ["photo", "camera"]) {
  byId(id).addEventListener("change", (event) => {
    identify([...event.target.files]);
    // The same file may be chosen again.
    event.target.value = "";
  });
}

document.addEventListener("state", () => {
  const empty = state.gallery.items === 0;
  const words = make("p", {}, make("b", {}, "This gallery is empty"), ", so every photo is unknown. ");
  words.append(make("a", { href: "#gallery" }, "Add reference photos"), " first.");
  say(byId("identify-note"), empty && words);
  // A verdict by another threshold than the one in force would mislead.
  if (shown && shown.threshold !== (state.thresholds.threshold?.value ?? null)) identify([shown.file]);
});

/** Ask about the first of some files. */
export async function identify(files) {
  const [file] = files;
  if (!file) return;
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  say(byId("identify-problem"));
  byId("view-identify").setAttribute("aria-busy", "true");
  const form = new FormData();
  form.append("images", file);
  try {
    const path = `/v1/identify?k=${NEAREST}`;
    const told = await ask(path, { method: "POST", form, signal: mine.signal });
    tell(file, told.identifications[0]);
    if (files.length > 1) say(byId("identify-doubt"), "One photo at a time: the first one was taken.");
  } catch (problem) {
    if (problem.name === "AbortError") return;
    byId("answer").hidden = byId("nearest").hidden = true;
    shown = null;
    place(null);
    say(byId("identify-problem"), problem.message);
  } finally {
    if (asking === mine) byId("view-identify").removeAttribute("aria-busy");
  }
}

function tell(file, answer) {
  const nearest = answer.items[0];
  shown = nearest ? { file, threshold: answer.threshold } : null;
  byId("view-identify").classList.add("asked");
  byId("identify-lead").textContent = "Drop or paste another photo, or";
  byId("answer").hidden = false;
  byId("answer").className = answer.decision ?? "none";
  byId("pair").replaceChildren(...pair(file, answer, nearest));
  byId("verdict").replaceChildren(...verdict(answer, nearest));
  say(byId("identify-doubt"), state.thresholds?.outgrown && "The gallery has outgrown its threshold: see below.");
  const add = make("button", { type: "button", click: () => offer([file], answer.label) }, "Add this photo to the gallery …");
  byId("answer-actions").replaceChildren(...(state.gallery?.may_write ? [add] : []));
  place(answer);
  byId("nearest").hidden = !nearest;
  const tiles = answer.items.map((item) => tile(item, show, score(item.distance)));
  byId("nearest-items").replaceChildren(...tiles);
}

function pair(file, answer, nearest) {
  if (picture) URL.revokeObjectURL(picture);
  picture = URL.createObjectURL(file);
  const image = make("img", { src: picture, alt: "The photo you asked about" });
  image.addEventListener("error", () => {
    const words = "This browser can't show the photo; it was read all the same.";
    image.replaceWith(make("span", { class: "missing" }, words));
  });
  const asked = make("figure", {}, image, make("figcaption", {}, "Your photo"));
  if (!nearest) return [asked];
  const alt = `Reference photo of ${labelOf(nearest)}`;
  const role = answer.decision === "match" ? "Reference" : "Nearest, no match";
  const open = make("button", { type: "button", class: "plain", click: () => show(nearest.id) }, nameOf(nearest));
  const words = answer.decision === "match" ? [`${role}: `, open] : [`${role}: ${labelOf(nearest)}, `, open];
  return [asked, make("figure", {}, photo(nearest, 640, alt), make("figcaption", {}, words))];
}

function verdict(answer, nearest) {
  const big = (kind, words) => make("p", { class: "big" }, kind && make("span", {}, kind), " ", words);
  if (!nearest) {
    const words = "The gallery is empty: there is nothing to compare with.";
    return [big("", "unknown"), make("p", {}, words)];
  }
  if (answer.decision === null) {
    const words = "There is no threshold to decide by. The nearest items are below.";
    return [big("", "no verdict"), make("p", {}, words)];
  }
  const matched = answer.decision === "match";
  const than = matched ? "is below" : "is not below";
  const words = [`Score ${score(answer.score)} ${than} the threshold ${score(answer.threshold)}.`];
  if (!matched) words.push(` The nearest item shows ${labelOf(nearest)}.`);
  if (answer.margin != null) {
    const next = answer.next_label ?? "an item without a label";
    words.push(` Next comes ${next}, ${score(answer.margin)} farther off.`);
  }
  if (matched && answer.p_value != null) {
    words.push(` At most ${percent(answer.p_value)} of strangers would come this close.`);
  }
  return [matched ? big("match", labelOf(nearest)) : big("", "unknown"), make("p", {}, words)];
}
