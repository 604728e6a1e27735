// The line that says what a call would cost and take, kept up to date while the prompt grows.
import type { Settings } from "./dom";
import { quoteText, quoteUrl, type Asked, type Quote } from "./quotes";
import { say } from "./words";

const PAUSE_MS = 400;

/** Calls back to ask again; a later question overtakes an earlier one. */
export function quoteLine(line: HTMLElement, settings: Settings, asked: () => Asked): () => void {
  let timer = 0, latest = 0, shown = "";
  const ask = async (): Promise<void> => {
    const question = asked();
    const url = quoteUrl(question);
    if (url + question.provider === shown) return;
    const mine = ++latest;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      const quotes = (await response.json()) as Quote[];
      if (mine !== latest) return;
      line.textContent = quoteText(question, quotes, settings.words);
      shown = url + question.provider;
    } catch {
      if (mine === latest) line.textContent = say(settings.words, "quoteFailed");
    }
  };
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), PAUSE_MS);
  };
}
