// One sentence at the foot of the page, with one thing to do about it; it stays until it is sent off.

import { byId, make } from "/static/dom.js";

/** Say what happened; `act` is `[words, function]`, and its button gets the focus. */
export function notice(text, act = null) {
  const place = byId("notice");
  const close = () => place.replaceChildren();
  const buttons = [make("button", { type: "button", class: "plain", click: close }, "Dismiss")];
  if (act) {
    const [words, run] = act;
    const click = () => {
      close();
      run();
    };
    buttons.unshift(make("button", { type: "button", click }, words));
  }
  place.replaceChildren(make("p", {}, text), make("div", { class: "row" }, buttons));
  if (act) buttons[0].focus();
}
