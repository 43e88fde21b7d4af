// Adding photos to the gallery: one request each, so that all that was taken is told.

import { ask } from "/static/api.js";
import { byId, count, make, plural, say } from "/static/dom.js";
import { itemsChanged, state } from "/static/state.js";

let chosen = [];
let busy = false;

byId("add-files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});
byId("add-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (chosen.length && !busy) add(chosen, byId("add-label").value.trim());
});
document.addEventListener("state", () => {
  const { items, may_write } = state.gallery;
  byId("adding").hidden = !may_write;
  byId("gallery-empty").hidden = items > 0;
  if (items === 0) byId("adding").open = true;
});

/** Go to the form with these files in it. */
export function offer(files, label) {
  location.hash = "#gallery";
  byId("add-label").value = label ?? "";
  take(files);
  // After the view has changed, which moves the focus too.
  setTimeout(() => byId("add-label").focus(), 0);
}

/** Put files into the form. */
export function take(files) {
  if (busy || !files.length) return;
  chosen = files;
  byId("adding").open = true;
  byId("add-button").disabled = false;
  byId("add-said").replaceChildren();
  const names = files.slice(0, 3).map((file) => file.name).join(", ");
  const more = files.length > 3 ? " and others" : "";
  byId("add-chosen").textContent = `${plural(files.length, "photo")}: ${names}${more}`;
}

async function add(files, label) {
  const progress = byId("add-progress");
  const [told, tally] = [[], { added: 0, there: 0 }];
  busy = true;
  byId("add-button").disabled = true;
  progress.hidden = false;
  progress.max = files.length;
  let place = 0;
  for (; place < files.length; place += 1) {
    progress.value = place;
    const form = new FormData();
    form.append("images", files[place]);
    if (label) form.append("label", label);
    try {
      const done = await ask("/v1/items", { method: "POST", form });
      tally.added += done.added;
      tally.there += done.duplicates.length;
      for (const one of done.duplicates) told.push(`${one.path} is there already, as item ${one.item_id}.`);
    } catch (problem) {
      told.push(problem.message);
      // A photo that can't be read costs only itself; anything else would come again.
      if (problem.status !== 422 && problem.status !== 413) break;
    }
  }
  busy = false;
  progress.hidden = true;
  chosen = files.slice(place);
  byId("add-button").disabled = !chosen.length;
  byId("add-chosen").textContent = chosen.length
    ? `${plural(chosen.length, "photo")} not added yet`
    : "or drop them here, or paste them";
  say(
    byId("add-said"),
    make("p", {}, make("b", {}, `${count(tally.added)} added`), label ? ` as ${label}.` : "."),
    ...told.slice(0, 20).map((one) => make("p", { class: "problem" }, one)),
  );
  if (tally.added) await itemsChanged();
}
