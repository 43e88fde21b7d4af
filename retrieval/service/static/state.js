// What all views know: the gallery served, and the threshold in force.

import { ask } from "/static/api.js";
import { byId, count, make, plural } from "/static/dom.js";

/** The last answers of /v1/gallery and /v1/thresholds; null until they came. */
export const state = { gallery: null, thresholds: null };

/** Ask for both anew, and tell every view by the event `state`. */
export async function refresh() {
  const [gallery, thresholds, labels] = await Promise.all(
    ["/v1/gallery", "/v1/thresholds", "/v1/labels"].map((path) => ask(path)),
  );
  Object.assign(state, { gallery, thresholds });
  document.title = `${gallery.name} – lookalike`;
  byId("gallery-name").textContent = gallery.name;
  const size = `${plural(gallery.items, "item")}, ${plural(gallery.labels, "label")}`;
  byId("counts").replaceChildren(gallery.may_write ? size : `${size} · `);
  if (!gallery.may_write) {
    const why = "The token in use may only look. To change the gallery, say one that may write.";
    const click = () => document.dispatchEvent(new CustomEvent("token-needed", { detail: why }));
    byId("counts").append(make("button", { class: "plain", type: "button", click }, "reading only"));
  }
  const options = labels.labels.map((one) => make("option", { value: one.label }, count(one.items)));
  byId("known-labels").replaceChildren(...options);
  document.dispatchEvent(new CustomEvent("state"));
}

/** Tell every view that items came, went or changed. */
export async function itemsChanged() {
  document.dispatchEvent(new CustomEvent("items-changed"));
  await refresh();
}
