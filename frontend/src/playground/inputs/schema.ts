// From a JSON schema to the fields of a form. Pure: no page, no network.
import type { Value } from "./validate";

export interface JsonSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema | boolean;
  prefixItems?: JsonSchema[];
  enum?: unknown[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  maxLength?: number;
  pattern?: string;
  contentMediaType?: string;
  "x-order"?: number;
}

export type FieldKind = "text" | "number" | "integer" | "boolean" | "enum";

/** One value that a person gives. `min` and `max` are inclusive; null is unbounded. */
export interface Field {
  name: string;
  title: string;
  help: string;
  kind: FieldKind;
  required: boolean;
  min: number | null;
  max: number | null;
  above: number | null;
  below: number | null;
  lengthMax: number | null;
  pattern: string;
  /** What there is to choose from, as people see it; and what is sent, in the same order. */
  options: string[];
  values: Value[];
  initial: string;
}

function typeOf(schema: JsonSchema): string {
  const types = Array.isArray(schema.type) ? schema.type : [schema.type ?? ""];
  return types.find((type) => type !== "null") ?? "";
}

function kindOf(schema: JsonSchema): FieldKind | null {
  if (schema.enum) return "enum";
  switch (typeOf(schema)) {
    case "string": return "text";
    case "number": return "number";
    case "integer": return "integer";
    case "boolean": return "boolean";
    default: return null;
  }
}

/** The field of one property; null for lists and objects, which have no single value. */
export function fieldOf(name: string, schema: JsonSchema, required: boolean): Field | null {
  const kind = kindOf(schema);
  if (kind === null) return null;
  const values = (schema.enum ?? []).filter((one): one is Value => one !== null && typeof one !== "object");
  return {
    name,
    title: schema.title ?? name,
    help: schema.description ?? "",
    kind,
    required,
    min: schema.minimum ?? null,
    max: schema.maximum ?? null,
    above: schema.exclusiveMinimum ?? null,
    below: schema.exclusiveMaximum ?? null,
    lengthMax: schema.maxLength ?? null,
    pattern: schema.pattern ?? "",
    options: values.map(String),
    values,
    initial: String(schema.default ?? ""),
  };
}

/**
 * The fields of an object's properties but for `except`, in the order of `x-order`, then as given.
 * Databases may store an object's properties in any order, so whoever cares states `x-order`.
 */
export function fieldsOf(schema: JsonSchema, except: ReadonlySet<string> = new Set()): Field[] {
  const properties = Object.entries(schema.properties ?? {}).filter(([name]) => !except.has(name));
  properties.sort(([, a], [, b]) => (a["x-order"] ?? Infinity) - (b["x-order"] ?? Infinity) || 0);
  const required = new Set(schema.required ?? []);
  return properties
    .map(([name, property]) => fieldOf(name, property, required.has(name)))
    .filter((field) => field !== null);
}

/** Whether a chat's schema lets messages have parts with images. */
export function takesImages(schema: JsonSchema): boolean {
  return JSON.stringify(schema.properties?.messages ?? {}).includes('"image_url"');
}
