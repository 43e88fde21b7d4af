// The evaluation: begun, followed by server-sent events, its figures, the report as a page.

import { ask, follow, work } from "/static/api.js";
import { byId, count, make, percent, plural, say, score } from "/static/dom.js";
import { state } from "/static/state.js";

let running = false;

byId("evaluation-form").addEventListener("submit", (event) => {
  event.preventDefault();
  run(work("/v1/evaluation", byId("strangers").checked ? { strangers: 0.2 } : {}, progress));
});
document.addEventListener("state", () => {
  byId("evaluation-form").hidden = !state.gallery.may_write || state.gallery.items === 0;
});

/** Load the last evaluation, and follow one that is running. */
export async function load() {
  try {
    const told = await ask("/v1/evaluation");
    tell(told);
    if (told.job && !running) run(follow({ id: told.job }, progress));
  } catch (problem) {
    say(byId("evaluation-problem"), problem.message);
  }
}

async function run(ending) {
  running = true;
  byId("evaluate").disabled = true;
  byId("evaluation-work").hidden = false;
  byId("evaluation-progress").removeAttribute("value");
  say(byId("evaluation-problem"));
  say(byId("evaluation-said"), "Evaluating …");
  try {
    await ending;
    running = false;
    await load();
  } catch (problem) {
    say(byId("evaluation-said"));
    say(byId("evaluation-problem"), problem.message);
  } finally {
    running = false;
    byId("evaluate").disabled = false;
    byId("evaluation-work").hidden = true;
  }
}

function progress({ done, total }) {
  if (!total) return;
  const shown = byId("evaluation-progress");
  shown.max = total;
  shown.value = done;
}

function tell({ evaluation, created_at, outdated, report }) {
  if (!evaluation) {
    const words = state.gallery?.items ? "It was never evaluated." : "This gallery is empty: add photos first.";
    if (!running) say(byId("evaluation-said"), words);
    byId("figures").replaceChildren();
    return;
  }
  const when = new Date(created_at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  const old = outdated ? " The gallery has changed since: evaluate it again." : "";
  if (!running) say(byId("evaluation-said"), `Evaluated ${when}.${old}`);
  const link = { href: report, target: "_blank", rel: "noopener", class: "button" };
  byId("figures").replaceChildren(
    ...headline(evaluation),
    make("p", {}, make("a", link, "Open the whole report")),
    make("p", { class: "quiet" }, "Curves, every label, the worst photos side by side; in a tab of its own."),
  );
}

/** The figures that matter first, each with what it means. */
function headline(evaluation) {
  const { recall, decisions, threshold, open_set: hidden } = evaluation;
  const figure = (value, words, small) => {
    const told = make("dd", {}, make("b", {}, value), make("span", { class: "quiet" }, small));
    return make("div", { class: "figure" }, make("dt", {}, words), told);
  };
  const shown = [1, 5].filter((k) => recall[k]).map((k) => {
    const { value, count: hits, n } = recall[k];
    const words = k === 1 ? "the nearest item has the right label" : `the right label is among the ${k} nearest`;
    return figure(percent(value), words, `recall@${k}, ${count(hits)} of ${count(n)}`);
  });
  const now = decisions.find((one) => one.threshold === threshold);
  if (now?.dir != null) {
    shown.push(figure(percent(now.dir), "of known photos are identified", `DIR at τ ${score(threshold)}`));
  }
  if (now?.misidentification != null) {
    const small = `misidentification at τ ${score(threshold)}`;
    shown.push(figure(percent(now.misidentification), "are accepted with a wrong label", small));
  }
  const queries = plural(evaluation.queries, "query", "queries");
  const size = `${plural(evaluation.items, "item")} of ${plural(evaluation.labels, "label")}`;
  const made = [
    make("p", {}, `${queries} against ${size}.`),
    make("dl", { class: "headline" }, shown),
  ];
  if (hidden) made.push(strangers(hidden));
  return made;
}

function strangers(hidden) {
  const share = (spread) =>
    spread ? `${percent(spread.mean)} (${percent(spread.low)} to ${percent(spread.high)})` : "–";
  const rows = hidden.points.map((one) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, percent(one.fpir)),
      make("td", {}, one.dir ? share(one.dir) : (one.note ?? "–")),
      make("td", {}, share(one.misidentification)),
    ),
  );
  const head = ["strangers let through (FPIR)", "known photos identified (DIR)", "wrong label"];
  const words =
    `With ${plural(hidden.hidden_labels, "label")} hidden, ${plural(hidden.repeats, "time")}: ` +
    "the mean, and between what 95 % of the times lie.";
  return make(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "What strangers get" },
    make(
      "table",
      {},
      make("caption", {}, words),
      make("thead", {}, make("tr", {}, head.map((one) => make("th", { scope: "col" }, one)))),
      make("tbody", {}, rows),
    ),
  );
}
