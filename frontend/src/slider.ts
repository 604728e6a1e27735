// A slider next to a number field; logarithmic where the page says so.

/** What a slider stands for: numbers from `low` to `high`, whole where its field takes no others. */
export interface Scale { low: number; high: number; steps: number; isLog: boolean; isWhole: boolean }

function bend(value: number, { isLog }: Scale): number {
  return isLog ? Math.log(value) : value;
}

/** The number at a place of the slider, with three digits that matter. */
export function numberAt(place: number, scale: Scale): number {
  const low = bend(scale.low, scale);
  const at = low + (place / scale.steps) * (bend(scale.high, scale) - low);
  const value = Number((scale.isLog ? Math.exp(at) : at).toPrecision(3));
  return scale.isWhole ? Math.round(value) : value;
}

/** The place of a number on the slider. */
export function placeOf(value: number, scale: Scale): number {
  const low = bend(scale.low, scale);
  return ((bend(value, scale) - low) / (bend(scale.high, scale) - low)) * scale.steps;
}

/** Have a slider and its field follow each other. */
export function slider(range: HTMLInputElement): void {
  const number = document.getElementById(range.dataset.sliderFor ?? "");
  if (!(number instanceof HTMLInputElement)) return;
  const scale: Scale = {
    low: Number(range.dataset.min),
    high: Number(range.dataset.max),
    steps: Number(range.max),
    isLog: range.dataset.scale === "log",
    isWhole: number.step !== "any",
  };
  const follow = (): void => { range.value = String(placeOf(number.valueAsNumber, scale)); };
  range.addEventListener("input", () => { number.value = String(numberAt(range.valueAsNumber, scale)); });
  number.addEventListener("input", follow);
  follow();
  range.hidden = false;
}
