// The line that says what a call would cost and take, kept up to date while the prompt grows.
import { CallFailed, quote } from "../../router-client";
import type { Settings } from "../dom";
import { measuredUrl, quotedCall, quoteText, type Asked, type Measured } from "./quotes";
import { say } from "../words";

const PAUSE_MS = 400;

/** Calls back to ask again; a later question overtakes an earlier one. */
export function quoteLine(line: HTMLElement, settings: Settings, asked: () => Asked): () => void {
  let timer = 0, latest = 0, shown = "";
  const known = new Map<string, Measured | null>();
  const measuredOf = async (model: string): Promise<Measured | null> => {
    const before = known.get(model);
    if (before !== undefined) return before;
    const response = await fetch(measuredUrl(model)).catch(() => null);
    if (!response?.ok) return null;
    const [first] = (await response.json()) as { measured: Measured | null }[];
    known.set(model, first?.measured ?? null);
    return first?.measured ?? null;
  };
  const ask = async (): Promise<void> => {
    const { model, call } = asked();
    const mine = ++latest;
    if (!call) return;
    const question = quotedCall(call);
    const { file } = question;
    const said = JSON.stringify([question.path, question.body, file?.name, file?.size, file?.lastModified]);
    if (said === shown) return;
    try {
      const [found, measured] = await Promise.all([quote(question), measuredOf(model)]);
      if (mine !== latest) return;
      line.textContent = quoteText(found, measured, settings.words, settings.words.unit);
      shown = said;
    } catch (error) {
      if (mine !== latest) return;
      const isNobody = error instanceof CallFailed && error.code === "no_eligible_worker";
      line.textContent = say(settings.words, isNobody ? "quoteNone" : "quoteFailed");
      shown = "";
    }
  };
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), PAUSE_MS);
  };
}
