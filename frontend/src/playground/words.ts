// The page's words, in the reader's language, with figures put in. Pure.

export type Words = Record<string, string>;

/** `{name}` in the word of a key becomes its value. A key without a word is shown itself. */
export function say(words: Words, key: string, values: Record<string, string | number> = {}): string {
  const word = words[key] ?? key;
  return word.replace(/\{(\w+)\}/g, (all, name: string) => String(values[name] ?? all));
}

/** Milliseconds as people read them. */
export function milliseconds(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** Nano-dollars with two digits that matter, and cents at least. */
export function dollars(nano: number): string {
  const usd = nano / 1e9;
  if (!usd) return "$0";
  const decimals = usd >= 1 ? 2 : Math.min(9, Math.max(2, 2 - Math.floor(Math.log10(usd)) - 0));
  return `$${usd.toFixed(decimals).replace(/(\.\d\d\d*?)0+$/, "$1")}`;
}
