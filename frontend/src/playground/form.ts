// A form made out of a model's tensors and JSON schema, and its answer as tables.
import type { Route } from "../router-client";
import { codePanel } from "./call/code-panel";
import { element, figureTable, find, sendOnCtrlEnter, type Settings } from "./dom";
import { imageInput, valuesInput } from "./inputs/image-or-values";
import { oneAnswer } from "./call/one-answer";
import { quoteLine } from "./call/quote-line";
import { inferCall, type Call } from "./call/request";
import { keep, restore } from "./saved";
import { tableInput, type InputWidget } from "./inputs/table-input";
import { shownOutput, tensorInput, type OutputTensor, type Shown, type Tensor } from "./inputs/tensors";
import { say, type Words } from "./words";

const VERSION = 1;

interface Answer { outputs: OutputTensor[]; route?: Route }

function outputTable(shown: Shown, words: Words): HTMLElement {
  const holder = element("div", "stack");
  if (shown.top) holder.append(element("p", "soft small", `${shown.name}: ${say(words, "topClasses", shown.top)}`));
  const rows = shown.rows.map((figures, i) => ({ name: say(words, "row", { n: i + 1 }), figures }));
  holder.append(figureTable(["", ...shown.head], rows));
  return holder;
}

export function form(root: HTMLElement, settings: Settings): void {
  const { words } = settings;
  const holder = find<HTMLFormElement>(root, "form");
  const result = find<HTMLElement>(root, "[data-result]");
  const schema = settings.models[0]?.schema ?? {};
  const saved = restore<Record<string, unknown>>(settings.model, VERSION) ?? {};
  const widgets = new Map<string, InputWidget>();

  const take = (isQuiet: boolean): Call | null => {
    const sent = [...widgets.values()].map((widget) => widget.take(isQuiet));
    return sent.every((tensor) => tensor !== null) ? inferCall(settings.model, sent) : null;
  };
  const rows = (): number => widgets.values().next().value?.rows() ?? 1;
  const requote = quoteLine(find(root, "[data-quote]"), settings, () => ({
    // What is not filled in yet has a size already.
    model: settings.model, call: inferCall(settings.model, [{ name: "", datatype: "FP32", shape: [rows()], data: [] }]),
  }));
  const redraw = codePanel(root, settings, () => take(true)); // Who is still typing is not told of what is missing.
  const changed = (): void => {
    requote();
    redraw();
    keep(settings.model, VERSION, Object.fromEntries([...widgets].map(([name, widget]) => [name, widget.state()])));
  };
  const widgetOf = (tensor: Tensor): InputWidget => {
    const input = tensorInput(tensor, schema.properties?.[tensor.name]);
    const kept = saved[tensor.name] ?? null;
    switch (input.kind) {
      case "table": return tableInput(input, words, kept, changed);
      case "image": return imageInput(input, words, changed);
      default: return valuesInput(input, words, kept, changed);
    }
  };
  for (const tensor of settings.tensors.inputs ?? []) widgets.set(tensor.name, widgetOf(tensor));
  find(holder, "[data-inputs]").append(...[...widgets.values()].map((widget) => widget.node));

  const { send } = oneAnswer<Answer>(root, settings);
  sendOnCtrlEnter(holder);
  holder.addEventListener("input", changed);
  holder.addEventListener("submit", (event) => {
    event.preventDefault();
    const request = take(false);
    if (!request) return;
    void send(request, ({ outputs }) => {
      result.replaceChildren(...outputs.map((output) => outputTable(shownOutput(output), words)));
    });
  });
  requote();
}
