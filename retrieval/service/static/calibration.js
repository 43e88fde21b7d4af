// What a stored calibration tells of a threshold. Pure: arrays in, shares out.

/** The first place whose score is at least `value`. */
function place(scores, value) {
  let low = 0;
  let high = scores.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scores[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** At most this share of strangers scores below a threshold; null where nothing is known. */
export function fpir({ scores = [], p_values = [] }, threshold) {
  if (!scores.length) return null;
  const at = place(scores, threshold);
  return at < scores.length ? p_values[at] : 1;
}

/** At least this share of known photos is identified at a threshold; null where nothing is known. */
export function dir({ scores = [], dirs = [] }, threshold) {
  if (!dirs.length) return null;
  const at = place(scores, threshold);
  return at ? dirs[at - 1] : 0;
}

/** The range of scores worth showing, in thousandths, with `more` scores inside it. */
export function range({ scores = [] }, more) {
  const all = [...scores, ...more.filter((one) => one != null)];
  if (!scores.length) all.push(0, 1);
  const low = Math.min(...all);
  const high = Math.max(...all);
  const edge = Math.max(0.02, (high - low) / 25);
  return [Math.floor(1000 * Math.max(0, low - edge)) / 1000, Math.ceil(1000 * Math.min(2, high + edge)) / 1000];
}
