// One item: its photo, what is known of it, another label, removal with undo.

import { ask } from "/static/api.js";
import { byId, count, labelOf, make, nameOf, photo, say } from "/static/dom.js";
import { notice } from "/static/notice.js";
import { itemsChanged, state } from "/static/state.js";

const dialog = byId("item");

/** Show an item by its id. */
export async function show(id) {
  let item;
  try {
    item = await ask(`/v1/items/${id}`);
  } catch (problem) {
    notice(problem.message);
    return;
  }
  const close = () => dialog.close();
  const said = make("p", { class: "problem", role: "alert" });
  const facts = [
    ["Item", String(item.id)],
    ["File", nameOf(item)],
    ["Size", `${count(item.width)} × ${count(item.height)} pixels`],
    ["Added", new Date(item.added_at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })],
    ...Object.entries(item.metadata).filter(([key]) => key !== "name").map(([key, value]) => [key, String(value)]),
  ];
  dialog.replaceChildren(
    make("h2", { id: "item-title", class: item.label === null ? "quiet" : "" }, item.label ?? "no label"),
    make("div", { class: "shown" }, photo(item, 640, `Reference photo of ${labelOf(item)}`)),
    make("dl", {}, facts.map(([key, value]) => make("div", {}, make("dt", {}, key), make("dd", {}, value)))),
    state.gallery?.may_write && changes(item, said),
    said,
    make("button", { type: "button", class: "close", click: close, autofocus: true }, "Close"),
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function changes(item, said) {
  const input = make("input", { id: "relabel", list: "known-labels", maxlength: 500, autocomplete: "off" });
  input.value = item.label ?? "";
  const submit = async (event) => {
    event.preventDefault();
    await attempt(said, async () => {
      const label = input.value.trim() || null;
      const changed = await ask(`/v1/items/${item.id}`, { method: "PATCH", json: { label } });
      dialog.close();
      await itemsChanged();
      const name = changed.label === null ? "has no label now" : `is ${changed.label} now`;
      const back = () => undo(() => ask(`/v1/items/${item.id}`, { method: "PATCH", json: { label: item.label } }));
      notice(`Item ${item.id} ${name}.`, ["Undo", back]);
    });
  };
  const remove = () =>
    attempt(said, async () => {
      await ask(`/v1/items/${item.id}`, { method: "DELETE" });
      dialog.close();
      await itemsChanged();
      const back = () => undo(() => ask(`/v1/items/${item.id}/restore`, { method: "POST" }));
      notice(`Removed item ${item.id}, ${item.label ?? "without a label"}.`, ["Undo", back]);
    });
  return make(
    "form",
    { submit },
    make("label", { for: "relabel" }, "Label; empty for an identity of its own"),
    make("div", { class: "row" }, input, make("button", { class: "primary" }, "Relabel")),
    make("button", { type: "button", class: "remove", click: remove }, "Remove from the gallery"),
  );
}

async function undo(change) {
  try {
    const item = await change();
    await itemsChanged();
    notice(`Item ${item.id}, ${item.label ?? "without a label"}, is as it was.`);
  } catch (problem) {
    notice(problem.message);
  }
}

async function attempt(said, change) {
  say(said);
  try {
    await change();
  } catch (problem) {
    say(said, problem.message);
  }
}
