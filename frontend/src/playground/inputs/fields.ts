// Controls for the fields of a schema, with their errors next to them.
import { complain, element } from "../dom";
import type { Field } from "./schema";
import { isProblem, parse, type Value } from "./validate";
import { say, type Words } from "../words";

export interface Control {
  field: Field;
  input: HTMLInputElement | HTMLSelectElement;
  box: HTMLElement;
}

let made = 0;

function inputFor(field: Field): Control["input"] {
  if (field.kind === "enum" || field.kind === "boolean") {
    const select = document.createElement("select");
    const options = field.kind === "enum" ? field.options : ["true", "false"];
    if (!field.required) select.append(new Option("–", ""));
    select.append(...options.map((option) => new Option(option)));
    return select;
  }
  const input = document.createElement("input");
  // Not type=number: it hides what it does not understand, and an error could not name it.
  // A phone's keys for decimals lack the minus.
  const isPositive = (field.min ?? field.above ?? -1) >= 0;
  input.inputMode = field.kind === "text" || !isPositive ? "text" : "decimal";
  input.autocomplete = "off";
  return input;
}

/** A control with its error box; label it yourself. */
export function control(field: Field, value: string = field.initial): Control {
  const input = inputFor(field);
  input.className = "input";
  input.id = `field-${++made}`;
  if (value !== "" || input instanceof HTMLInputElement) input.value = value;
  const box = element("p", "problem small");
  box.id = `${input.id}-problem`;
  box.hidden = true;
  return { field, input, box };
}

/** A labelled control, as forms show it. */
export function labelled(one: Control): HTMLElement {
  const holder = element("div", "field");
  const label = element("label", "", one.field.title);
  label.setAttribute("for", one.input.id);
  holder.append(label);
  if (one.field.help) holder.append(element("p", "soft small", one.field.help));
  holder.append(one.input, one.box);
  return holder;
}

/** The control's value, undefined if empty; null if it is wrong, which is said next to it unless that is to be quiet. */
export function read({ field, input, box }: Control, words: Words, isQuiet = false): Value | undefined | null {
  const parsed = parse(field, input.value);
  if (!isQuiet) complain(input, box, isProblem(parsed) ? say(words, parsed.problem, parsed.values) : "");
  return isProblem(parsed) ? null : parsed.value;
}

/** All values by name, or null; with the first that is wrong in focus unless that is to be quiet. */
export function readAll(controls: Control[], words: Words, isQuiet = false): Record<string, Value> | null {
  const found: Record<string, Value> = {};
  let wrong: Control | null = null;
  for (const one of controls) {
    const value = read(one, words, isQuiet);
    if (value === null) wrong ??= one;
    else if (value !== undefined) found[one.field.name] = value;
  }
  if (wrong && !isQuiet) {
    wrong.input.dispatchEvent(new Event("invalid")); // Every page unfolds what such a field is folded away in.
    wrong.input.focus();
  }
  return wrong ? null : found;
}
