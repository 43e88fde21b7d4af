// The threshold: the bar, the slider that only tries, and what puts another one in force.

import { ask, work } from "/static/api.js";
import { dir, fpir, range } from "/static/calibration.js";
import { byId, count, make, percent, say, score } from "/static/dom.js";
import { bar, standing } from "/static/drawing.js";
import { notice } from "/static/notice.js";
import { refresh, state } from "/static/state.js";

const panel = byId("threshold");
// The answer to the photo that is shown, or null; and what the slider tries, null while it rests.
let answer = null;
let tried = null;
let tuning = false;

/** Show where the photo of this answer stands; null for none. */
export function place(identification) {
  answer = identification;
  tried = null;
  draw();
}

document.addEventListener("state", () => {
  tried = null;
  draw();
});

function draw() {
  const { gallery, thresholds } = state;
  panel.hidden = !gallery || gallery.items === 0;
  if (panel.hidden) return;
  const { threshold } = thresholds;
  const calibration = threshold?.calibration ?? {};
  const here = answer && (!threshold || answer.rule === threshold.rule) ? answer.score : null;
  const ends = range(calibration, [threshold?.value, here]);
  const drawn = make("div", { class: "drawn" });
  const redraw = () => drawn.replaceChildren(bar(calibration, ends, { tau: tried ?? threshold?.value, here }));
  redraw();
  const brings = make("p", { id: "brings", role: "status" });
  const slider = make("input", {
    id: "tau",
    type: "range",
    min: ends[0],
    max: ends[1],
    step: 0.001,
    "aria-describedby": "brings",
  });
  slider.value = threshold?.value ?? (ends[0] + ends[1]) / 2;
  const store = make("button", { type: "button", id: "store", click: () => confirm(calibration) });
  const back = make("button", { type: "button", class: "plain", click: () => place(answer) }, "Put the slider back");
  const actions = make("div", { class: "row" }, gallery.may_write && store, back);
  const tell = () => {
    const value = tried ?? threshold?.value;
    brings.replaceChildren(...worth(calibration, value, tried != null));
    slider.setAttribute("aria-valuetext", value == null ? "no threshold" : `τ ${score(value)}`);
    actions.hidden = tried == null;
    store.textContent = `Put ${score(tried ?? 0)} in force …`;
  };
  tell();
  slider.addEventListener("input", () => {
    tried = Number(slider.value);
    redraw();
    tell();
  });
  panel.replaceChildren(
    make("h2", { id: "threshold-title" }, "Known or stranger?"),
    make("p", {}, standing(calibration, here) ?? "A photo matches when its score is below the threshold τ."),
    drawn,
    make("label", { for: "tau", class: "unseen" }, "Threshold τ, to try"),
    slider,
    make("p", { class: "legend quiet", hidden: !calibration.scores?.length }, ...LEGEND.map((one) => one())),
    brings,
    actions,
    origin(threshold, gallery),
  );
}

const LEGEND = [
  () => make("span", { class: "key known" }, "known photos identified (DIR)"),
  () => make("span", { class: "key strangers" }, "strangers let through (FPIR)"),
];

/** Say what a threshold brings: for all photos, and for the one that is shown. */
function worth(calibration, value, trying) {
  if (value == null) return ["Move the slider to try one."];
  const words = [make("b", {}, trying ? `With τ = ${score(value)}` : `τ = ${score(value)}`), ": "];
  const passed = fpir(calibration, value);
  const found = dir(calibration, value);
  if (passed == null) words.push("nothing was measured that would tell what it brings.");
  else {
    words.push("at most ", make("b", {}, percent(passed)), " of strangers are let through (FPIR)");
    if (found != null) words.push(", at least ", make("b", {}, percent(found)), " of known photos are identified (DIR)");
    words.push(".");
  }
  const nearest = answer?.items[0];
  if (trying && nearest && answer.score != null) {
    const verdict = answer.score < value ? `match ${nearest.label ?? `item ${nearest.id}`}` : "be unknown";
    words.push(` This photo would ${verdict}.`);
  }
  return words;
}

/** Say where the threshold comes from, and offer to tune one. */
function origin(threshold, gallery) {
  const words = [];
  if (!threshold) {
    words.push(
      make("b", {}, "This gallery has no threshold yet"),
      ", so the nearest items are shown without a verdict. Tuning finds one from its own items: each plays a stranger, " +
        "with its whole label left out. It takes several labels with several items each.",
    );
  } else if (threshold.source === "hand" || threshold.objective === "hand") {
    words.push(`In force: ${score(threshold.value)} by the rule ${threshold.rule}, set by hand.`);
  } else {
    words.push(`In force: ${score(threshold.value)} by the rule ${threshold.rule}, tuned for ${threshold.objective}.`);
  }
  if (threshold && state.thresholds.outgrown) {
    const then = count(threshold.details.items);
    words.push(
      ` The gallery had ${then} items when it was tuned and has ${count(gallery.items)} now, ` +
        "so other shares of strangers may pass: tune it anew.",
    );
  }
  const run = make("button", { type: "button", disabled: tuning, click: tune });
  run.textContent = tuning ? "Tuning …" : threshold ? "Tune it anew" : "Tune a threshold";
  const loud = !threshold || state.thresholds.outgrown;
  return make(
    "div",
    { class: loud ? "note" : "origin quiet" },
    make("p", {}, words),
    gallery.may_write && make("div", { class: "row" }, run),
  );
}

async function tune() {
  tuning = true;
  draw();
  let said;
  try {
    const { result } = await work("/v1/thresholds", {}, () => {});
    said = `The threshold is now ${score((await ask(result)).threshold.value)}.`;
  } catch (problem) {
    said = problem.message;
  }
  tuning = false;
  await refresh();
  notice(said);
}

function confirm(calibration) {
  const value = tried;
  const before = state.thresholds.threshold?.value;
  const dialog = byId("confirm");
  const said = make("p", { class: "problem", role: "alert" });
  const put = async () => {
    try {
      await ask("/v1/thresholds", { method: "PUT", json: { value } });
      dialog.close();
      await refresh();
      notice(`The threshold is now ${score(value)}. Photos asked from now on are decided by it.`);
    } catch (problem) {
      say(said, problem.message);
    }
  };
  const keep = before == null ? "Leave it" : `Keep ${score(before)}`;
  dialog.replaceChildren(
    make("h2", { id: "confirm-title" }, `Put τ = ${score(value)} in force?`),
    make(
      "p",
      {},
      "From then on it decides for everybody who asks this gallery",
      before == null ? ". " : `, instead of ${score(before)}. `,
    ),
    make("p", {}, worth(calibration, value, false)),
    said,
    make(
      "div",
      { class: "row" },
      make("button", { type: "button", class: "primary", click: put }, "Put it in force"),
      make("button", { type: "button", autofocus: true, click: () => dialog.close() }, keep),
    ),
  );
  dialog.showModal();
}
