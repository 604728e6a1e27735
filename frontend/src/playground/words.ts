// The page's words, in the reader's language, with figures put in. Pure.

export type Words = Record<string, string>;

/** `{name}` in the word of a key becomes its value. A key without a word is shown itself. */
export function say(words: Words, key: string, values: Record<string, string | number> = {}): string {
  const word = words[key] ?? key;
  return word.replace(/\{(\w+)\}/g, (all, name: string) => String(values[name] ?? all));
}

/** A figure as the page's language writes it, with its thousands apart, as the server does. */
export function decimal(value: number, least: number, most = least, language = pageLanguage()): string {
  return value.toLocaleString(language, { minimumFractionDigits: least, maximumFractionDigits: most });
}

/** A model's number with five digits that matter, and its decimal sign as the page's language writes it. */
export function figure(value: number, language = pageLanguage()): string {
  const digits = Number.isInteger(value) ? value : Number(value.toPrecision(5));
  return String(digits).replace(".", decimal(0.5, 1, 1, language).charAt(1));
}

/** What a person typed, with a point where the page's language writes numbers with a comma; else as it is. */
export function withPoint(text: string, language = pageLanguage()): string {
  const hasComma = decimal(0.5, 1, 1, language).includes(",");
  return hasComma && /^[^,.]*,[^,.]*$/.test(text) ? text.replace(",", ".") : text;
}

function pageLanguage(): string {
  return typeof document === "undefined" ? "en" : document.documentElement.lang || "en";
}

/** Milliseconds as people read them. */
export function milliseconds(value: number, language?: string): string {
  if (value >= 1000) return `${decimal(value / 1000, 2, 2, language)} s`;
  const digits = value < 10 ? 1 : 0;
  return `${decimal(value, digits, digits, language)} ms`;
}

/** Nano-dollars with two digits that matter, and cents at least. */
export function dollars(nano: number, language?: string): string {
  const usd = nano / 1e9;
  if (!usd) return "$0";
  const decimals = usd >= 1 ? 2 : Math.min(9, Math.max(2, 2 - Math.floor(Math.log10(usd))));
  return `$${decimal(usd, 2, decimals, language)}`;
}
