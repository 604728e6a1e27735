// A tensor as a picture, or as a list of values.
import { complain, find, stamped } from "../dom";
import { ImageRefused, pixels } from "./image";
import type { InputWidget } from "./table-input";
import { imageShape, imageTensor, valuesTensor, type TensorInput } from "./tensors";
import { isProblem } from "./validate";
import { say, type Words } from "../words";

function titled(node: HTMLElement, input: TensorInput, control: HTMLElement): void {
  control.id = `input-${input.tensor.name}`;
  const label = find<HTMLElement>(node, "[data-title]");
  label.textContent = input.title;
  label.setAttribute("for", control.id);
  find(node, "[data-help]").textContent = input.help;
  find(node, "[data-problem]").id = `${control.id}-problem`;
}

export function imageInput(
  input: Extract<TensorInput, { kind: "image" }>, words: Words, changed: () => void,
): InputWidget {
  const node = stamped("image-input");
  const file = find<HTMLInputElement>(node, "input");
  const preview = find<HTMLImageElement>(node, "img");
  const box = find<HTMLElement>(node, "[data-problem]");
  let chosen: Uint8ClampedArray | null = null;
  titled(node, input, file);
  const show = async (picture: File | undefined): Promise<void> => {
    // A large picture may still be read when a smaller one is chosen after it.
    const isOvertaken = (): boolean => file.files?.[0] !== picture;
    chosen = null;
    preview.hidden = true;
    if (!picture) return changed();
    try {
      const found = await pixels(picture, input.width, input.height);
      if (isOvertaken()) return;
      chosen = found.data;
      preview.src = found.preview;
      preview.hidden = false;
      complain(file, box, "");
    } catch (error) {
      if (isOvertaken()) return;
      const refused = error instanceof ImageRefused ? error : new ImageRefused("imageKind");
      complain(file, box, say(words, refused.problem, refused.values));
    }
    changed();
  };
  file.addEventListener("change", () => { void show(file.files?.[0]); });
  return {
    node,
    // What is charged for is the first axis: of a picture without one for many, its channels or its lines.
    rows: () => imageShape(input)[0] ?? 1,
    state: () => null,
    take: (isQuiet) => {
      if (chosen) return imageTensor(input, chosen);
      if (isQuiet) return null;
      complain(file, box, say(words, "image"));
      file.focus();
      return null;
    },
  };
}

export function valuesInput(
  input: Extract<TensorInput, { kind: "values" }>, words: Words, saved: unknown, changed: () => void,
): InputWidget {
  const node = stamped("values-input");
  const area = find<HTMLTextAreaElement>(node, "textarea");
  const shape = find<HTMLInputElement>(node, "[data-shape]");
  const box = find<HTMLElement>(node, "[data-problem]");
  const kept = saved as { text: string; shape: string } | null;
  titled(node, input, area);
  shape.id = `shape-${input.tensor.name}`;
  shape.previousElementSibling?.setAttribute("for", shape.id);
  shape.value = kept?.shape ?? input.tensor.shape.map((side) => Math.max(side, 1)).join(" × ");
  area.value = kept?.text ?? "";
  node.addEventListener("input", changed);
  return {
    node,
    rows: () => Math.max(1, Number.parseInt(shape.value, 10) || 1),
    state: () => ({ text: area.value, shape: shape.value }),
    take: (isQuiet) => {
      const sent = valuesTensor(input.tensor, area.value, shape.value);
      const wrong = isProblem(sent);
      if (isQuiet) return wrong ? null : sent;
      complain(area, box, wrong ? say(words, sent.problem, sent.values) : "");
      if (wrong) area.focus();
      return wrong ? null : sent;
    },
  };
}
