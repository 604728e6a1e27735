// "Show code": the exact request, in the language that a person chooses.
import { codeOf, LANGUAGES, type Language } from "./code";
import { find, type Settings } from "../dom";
import type { Call } from "./request";
import { say } from "../words";

/** Redraws when opened and, while it is open, whenever the returned function is called. */
export function codePanel(root: ParentNode, settings: Settings, call: () => Call | null): () => void {
  const panel = find<HTMLDetailsElement>(root, "[data-code]");
  const select = find<HTMLSelectElement>(panel, "select");
  const shown = find<HTMLElement>(panel, "pre");
  const note = find<HTMLElement>(panel, "[data-elided]");
  select.append(...LANGUAGES.map((language) => new Option(language)));
  const draw = (): void => {
    if (!panel.open) return;
    const request = call();
    if (!request) return;
    const { code, left } = codeOf(select.value as Language, settings.router_url, request);
    shown.textContent = code;
    note.textContent = left ? say(settings.words, "elided", { n: left }) : "";
    note.hidden = !left;
  };
  panel.addEventListener("toggle", draw);
  select.addEventListener("change", draw);
  return draw;
}
