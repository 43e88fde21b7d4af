// Elements and words: data goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** Make an element: functions are listeners, true and false set and leave out, strings are text. */
export function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

/** Show words in an element, or hide it where there are none. */
export function say(element, ...words) {
  const told = words.filter((word) => word != null && word !== false && word !== "");
  element.replaceChildren(...told);
  if (element.getAttribute("role") === null) element.hidden = told.length === 0;
}

export const score = (value) => value.toFixed(3);
export const count = (value) => value.toLocaleString("en");
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** A share in percent: what is not nothing never looks like it. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "less than 0.1\u00a0%";
  const digits = share > 0.995 && share < 1 ? 2 : 1;
  return `${(100 * share).toFixed(digits).replace(/\.0+$/, "")}\u00a0%`;
}

export const labelOf = (item) => item.label ?? `item ${item.id}`;
export const nameOf = (item) => item.metadata?.name || item.path.split(/[\\/]/).pop();

/** An item's photo, small; what can't be shown is said in its place. */
export function photo(item, side, alt = "") {
  const image = make("img", { src: `/v1/items/${item.id}/thumbnail?side=${side}`, alt, loading: "lazy" });
  image.addEventListener("error", () => {
    image.replaceWith(make("span", { class: "missing" }, "The photo is not where it was."));
  });
  return image;
}

/** An item in a grid: a button that shows it. */
export function tile(item, show, more) {
  return make(
    "li",
    {},
    make(
      "button",
      { class: "tile", type: "button", "data-item": item.id, click: () => show(item.id) },
      photo(item, 320),
      make("span", { class: "label" }, labelOf(item)),
      make("span", { class: "quiet" }, more),
    ),
  );
}
