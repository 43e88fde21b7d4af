// The gallery as a grid: searched, page by page, brought up to date where it stands.

import { ask } from "/static/api.js";
import { byId, make, nameOf, plural, say, tile } from "/static/dom.js";
import { show } from "/static/item.js";

const PAGE = 48;
const [PAUSE, MOST] = [200, 500];
let [after, turn, timer] = [0, 0, null];

byId("search").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => load(), PAUSE);
});
byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  load();
});
byId("more").addEventListener("click", async () => {
  const first = byId("items").children.length;
  await load({ more: true });
  // The reader goes on where the new ones begin.
  byId("items").children[first]?.querySelector("button").focus();
});
document.addEventListener("items-changed", () => load({ limit: byId("items").children.length }));

/** Load a page: the first one, or one `more`; `limit` keeps as many as are shown. */
export async function load({ more = false, limit = PAGE } = {}) {
  clearTimeout(timer);
  const mine = (turn += 1);
  const q = byId("search").value.trim();
  const size = Math.min(MOST, Math.max(PAGE, limit));
  const asked = new URLSearchParams({ q, after: more ? after : 0, limit: size });
  try {
    const told = await ask(`/v1/items?${asked}`);
    // An answer that was overtaken is old.
    if (mine !== turn) return;
    const tiles = told.items.map((item) => tile(item, show, nameOf(item)));
    if (more) byId("items").append(...tiles);
    else byId("items").replaceChildren(...tiles);
    after = told.next ?? 0;
    byId("more").hidden = told.next === null;
    say(byId("gallery-problem"));
    say(byId("found"), summary(q, told.total));
  } catch (problem) {
    if (mine === turn) say(byId("gallery-problem"), problem.message);
  }
}

function summary(q, total) {
  const shown = byId("items").children.length;
  if (!total) return q ? make("span", {}, `No item has “${q}” in label, file name or metadata.`) : "";
  const all = q ? `${plural(total, "item")} with “${q}”` : plural(total, "item");
  return shown < total ? `${all}, the first ${shown} shown` : all;
}
