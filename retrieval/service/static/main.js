// The page as a whole: which view is shown, where dropped and pasted photos go, the token.

import { take } from "/static/adding.js";
import { token } from "/static/api.js";
import { byId, say } from "/static/dom.js";
import { load as loadEvaluation } from "/static/evaluation.js";
import { identify } from "/static/identify.js";
import { load as loadItems } from "/static/items.js";
import { refresh } from "/static/state.js";

const VIEWS = { identify: () => {}, gallery: () => loadItems(), evaluation: () => loadEvaluation() };

function view() {
  const name = location.hash.slice(1);
  return Object.hasOwn(VIEWS, name) ? name : "identify";
}

function turn({ focus }) {
  for (const name of Object.keys(VIEWS)) byId(`view-${name}`).hidden = name !== view();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  VIEWS[view()]();
  if (focus) {
    window.scrollTo(0, 0);
    byId(`${view()}-title`).focus();
  }
}

/** Give photos to the view that is shown. */
function receive(files) {
  if (document.querySelector("dialog[open]")) return;
  if (view() === "gallery") {
    take(files);
    return;
  }
  location.hash = "#identify";
  identify(files);
}

window.addEventListener("hashchange", () => turn({ focus: true }));

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  receive(files);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const files = [...event.dataTransfer.files];
  if (files.length) receive(files);
  else {
    const place = byId(view() === "gallery" ? "gallery-problem" : "identify-problem");
    say(place, "That was no file: save the picture first, or copy and paste it.");
  }
});

document.addEventListener("token-needed", (event) => {
  byId("token-why").textContent = event.detail;
  byId("token-form").hidden = false;
  byId("token-forget").hidden = token.get() === null;
  byId("token").focus();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  byId("token").value = "";
  byId("token-form").hidden = true;
  begin({ focus: true });
});
byId("token-forget").addEventListener("click", () => {
  token.forget();
  byId("token-form").hidden = true;
  begin({ focus: true });
});

async function begin({ focus }) {
  say(byId("identify-problem"));
  try {
    await refresh();
    turn({ focus });
  } catch (problem) {
    turn({ focus: false });
    if (problem.status !== 401) say(byId("identify-problem"), problem.message);
  }
}

begin({ focus: false });
