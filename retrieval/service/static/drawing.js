// The bar: shares of known photos and of strangers over the score, τ, and where this photo stands.

import { dir, fpir } from "/static/calibration.js";
import { make, percent, score } from "/static/dom.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [1000, 100];

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Steps of a share from the lowest score on. */
function steps(share, scores, [low, high]) {
  const places = scores.map((one) => {
    const x = ((one - low) / (high - low)) * WIDTH;
    return `H${x.toFixed(1)}V${(HEIGHT * (1 - share(one + 1e-6))).toFixed(1)}`;
  });
  return `${places.join("")}H${WIDTH}`;
}

/** A mark across the bar with its name; on the right half the name stands to its left. */
function mark(kind, value, [low, high], words) {
  const made = make("span", { class: `mark ${kind}` }, make("span", {}, words));
  const at = (value - low) / (high - low);
  made.style.left = `${100 * at}%`;
  made.classList.toggle("left", at > 0.5);
  return made;
}

/** Draw the bar over a range of scores; `here` is the photo's score, or null. */
export function bar(calibration, ends, { tau, here }) {
  const scores = calibration.scores ?? [];
  const drawing = shape("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  if (scores.length) {
    const strangers = (at) => fpir(calibration, at);
    drawing.append(shape("path", { class: "strangers", d: `M0 ${HEIGHT}${steps(strangers, scores, ends)}V${HEIGHT}Z` }));
  }
  if (calibration.dirs?.length) {
    // Below the lowest score nothing is known of it: the line begins there.
    const known = (at) => dir(calibration, at);
    const begin = steps(known, scores, ends).replace(/^H([\d.]+)V([\d.]+)/, "M$1 $2");
    drawing.append(shape("path", { class: "known", d: begin }));
  }
  const marks = [];
  if (tau != null) marks.push(mark("tau", tau, ends, `τ ${score(tau)}`));
  if (here != null) marks.push(mark("here", here, ends, `this photo ${score(here)}`));
  const words = [tau == null ? null : `The threshold is ${score(tau)}.`, standing(calibration, here)];
  return make(
    "div",
    { class: "bar", role: "img", "aria-label": words.filter(Boolean).join(" ") || "Scores" },
    drawing,
    marks,
  );
}

/** Say where a score lies between known matches and strangers. */
export function standing(calibration, here) {
  if (here == null) return null;
  const strangers = fpir(calibration, here);
  const known = dir(calibration, here);
  if (strangers == null) return `This photo scores ${score(here)}.`;
  const others = `at most ${percent(strangers)} of strangers come this close`;
  // Below the lowest stranger's score the calibration doesn't tell known photos apart.
  const nearer = known ? `at least ${percent(known)} of known photos come closer, ` : "";
  return `This photo scores ${score(here)}: ${nearer}${others}.`;
}
