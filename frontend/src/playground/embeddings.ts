// Two texts to compare by their embeddings.
import type { Route } from "../router-client";
import { codePanel } from "./call/code-panel";
import { find, sendOnCtrlEnter, type Settings } from "./dom";
import { oneAnswer } from "./call/one-answer";
import { quoteLine } from "./call/quote-line";
import { embeddingsCall } from "./call/request";
import { keep, restore } from "./saved";
import { decimal } from "./words";

const VERSION = 1;

interface Answer { data: { embedding: number[] }[]; route?: Route }

/** 1 is the same direction, 0 unrelated. */
export function cosine(a: number[], b: number[]): number {
  let dot = 0, aa = 0, bb = 0;
  a.forEach((x, i) => { const y = b[i] ?? 0; dot += x * y; aa += x * x; bb += y * y; });
  return dot / Math.max(Math.sqrt(aa * bb), 1e-12);
}

export function embeddings(root: HTMLElement, settings: Settings): void {
  const form = find<HTMLFormElement>(root, "form");
  const result = find<HTMLElement>(root, "[data-result]");
  const areas = [...form.querySelectorAll<HTMLTextAreaElement>("textarea")];
  const texts = (): string[] => areas.map((area) => area.value);
  const saved = restore<string[]>(settings.model, VERSION);
  saved?.forEach((text, i) => { const area = areas[i]; if (area) area.value = text; });
  const requote = quoteLine(find(root, "[data-quote]"), settings, () => ({
    model: settings.model, call: embeddingsCall(settings.model, texts()),
  }));
  const redraw = codePanel(root, settings, () => embeddingsCall(settings.model, texts()));
  const { send } = oneAnswer<Answer>(root, settings);
  sendOnCtrlEnter(form);
  form.addEventListener("input", () => { requote(); redraw(); keep(settings.model, VERSION, texts()); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send(embeddingsCall(settings.model, texts()), ({ data: [first, second] }) => {
      if (first && second) result.textContent = decimal(cosine(first.embedding, second.embedding), 3);
    });
  });
  requote();
}
