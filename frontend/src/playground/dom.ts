// Small things that every playground does to its page.
import { CallFailed } from "../router-client";
import { adviceOf } from "./report/advice";
import type { JsonSchema } from "./inputs/schema";
import type { Tensor } from "./inputs/tensors";
import type { TermWords } from "./report/terms";
import { say, type Words } from "./words";

export interface Choice {
  name: string;
  display_name: string;
  emulated: boolean;
  completion_tokens_max: number;
  schema: JsonSchema;
  providers: { slug: string; name: string }[];
}

/** The kinds that ask by a few fields of a form: see tasks.ts. */
export type TaskKind = "rerank" | "moderation" | "image" | "speech" | "transcription";

/** What the server tells the island, as marketplace/storefront/browse/playground.py makes it. */
export interface Settings {
  kind: "chat" | "embeddings" | "form" | TaskKind;
  model: string;
  tensors: { inputs?: Tensor[]; outputs?: Tensor[] };
  models: Choice[];
  router_url: string;
  urls: Record<string, string>;
  words: Words;
  verdicts: Words;
  /** The same in a word or two. */
  verdict_names: Words;
  terms: TermWords;
}

export function find<T extends Element>(root: ParentNode, selector: string): T {
  const found = root.querySelector<T>(selector);
  if (!found) throw new Error(`the page lacks ${selector}`);
  return found;
}

export function element(tag: string, className: string, text = ""): HTMLElement {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

/** Figures in a table, which scrolls by itself where it is too wide. Each row begins with its name. */
export function figureTable(heads: string[], rows: { name: string; figures: string[] }[]): HTMLElement {
  const wrap = element("div", "table-wrap");
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  wrap.tabIndex = 0;
  heads.forEach((name, column) => {
    const cell = element(name ? "th" : "td", column ? "num" : "", name);
    if (name) cell.setAttribute("scope", "col");
    head.append(cell);
  });
  const body = table.createTBody();
  for (const { name, figures } of rows) {
    const cell = element("th", "", name);
    cell.setAttribute("scope", "row");
    body.insertRow().append(cell, ...figures.map((figure) => element("td", "num", figure)));
  }
  wrap.append(table);
  return wrap;
}

/** A copy of the one element in a <template>. */
export function stamped(id: string): HTMLElement {
  const template = document.getElementById(id);
  const first = template instanceof HTMLTemplateElement ? template.content.firstElementChild : null;
  if (!(first instanceof HTMLElement)) throw new Error(`the page lacks the template ${id}`);
  return first.cloneNode(true) as HTMLElement;
}

/** Say what went wrong and what to do next, with a link where there is a page for it. */
export function showFailure(box: HTMLElement, error: unknown, { words, urls }: Settings): void {
  const failed = error instanceof CallFailed ? error : new CallFailed("");
  const advice = adviceOf(failed);
  const parts: (Node | string)[] = [];
  if (failed.message) parts.push(element("p", "", failed.message));
  if (advice) {
    const next = element("p", "", `${say(words, advice.word, { seconds: advice.seconds ?? "" })} `);
    if (advice.link) {
      const link = element("a", "", words[advice.link.word] ?? "");
      link.setAttribute("href", urls[advice.link.url] ?? "/");
      next.append(link);
    }
    parts.push(next);
  }
  box.replaceChildren(...parts);
  box.hidden = false;
}

/** Ctrl+Enter (or Cmd+Enter) anywhere in a form sends it. */
export function sendOnCtrlEnter(form: HTMLFormElement): void {
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

/** Show a problem next to a control, and link both; "" removes it. */
export function complain(control: HTMLElement, box: HTMLElement, text: string): void {
  box.textContent = text;
  box.hidden = text === "";
  if (text) {
    control.setAttribute("aria-invalid", "true");
    if (box.id) control.setAttribute("aria-describedby", box.id);
  } else {
    control.removeAttribute("aria-invalid");
  }
}
