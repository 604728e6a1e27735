// From what a person typed to a value, or to what is wrong with it. Pure.
import { withPoint } from "../words";
import type { Field } from "./schema";

/** `problem` is a key of the page's words, with the figures that go into it. */
export interface Problem { problem: string; values: Record<string, string | number> }
export type Value = string | number | boolean;
export type Parsed = { value: Value | undefined } | Problem;

export function isProblem<T extends object>(parsed: T | Problem): parsed is Problem {
  return "problem" in parsed;
}

function problem(key: string, values: Problem["values"] = {}): Problem {
  return { problem: key, values };
}

function numeric(field: Field, text: string, language?: string): Parsed {
  const value = Number(withPoint(text, language));
  if (!Number.isFinite(value)) return problem(field.kind === "integer" ? "integer" : "number");
  if (field.kind === "integer" && !Number.isSafeInteger(value)) return problem("integer");
  const { min, max, above, below } = field;
  if (min !== null && value < min) return problem("min", { min });
  if (max !== null && value > max) return problem("max", { max });
  if (above !== null && value <= above) return problem("above", { min: above });
  if (below !== null && value >= below) return problem("below", { max: below });
  return { value };
}

/** A pattern in another language's words is left to the model to judge. */
function fits(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern, "u").test(text);
  } catch {
    return true;
  }
}

function textual(field: Field, text: string): Parsed {
  // By code points, as JSON schema counts.
  if (field.lengthMax !== null && [...text].length > field.lengthMax) return problem("long", { max: field.lengthMax });
  if (!fits(field.pattern, text)) return problem("pattern", { pattern: field.pattern });
  return { value: text };
}

/** A field's value; undefined for one that is empty and need not be sent. */
export function parse(field: Field, text: string, language?: string): Parsed {
  const blank = text.trim() === "";
  if (blank) return field.required ? problem("required") : { value: undefined };
  switch (field.kind) {
    case "number":
    case "integer": return numeric(field, text.trim(), language);
    case "boolean": {
      const word = text.trim().toLowerCase();
      if (["true", "1"].includes(word)) return { value: true };
      if (["false", "0"].includes(word)) return { value: false };
      return problem("option", { options: "true, false" });
    }
    case "enum": {
      const value = field.values[field.options.indexOf(text)];
      return value === undefined ? problem("option", { options: field.options.join(", ") }) : { value };
    }
    default: return textual(field, text);
  }
}
