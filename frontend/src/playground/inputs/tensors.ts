// Inputs and outputs of Open Inference Protocol models: which form fits a tensor, and what is sent. Pure.
import { fieldOf, type Field, type JsonSchema } from "./schema";
import { figure, withPoint } from "../words";
import type { Value } from "./validate";

export interface Tensor { name: string; datatype: string; shape: number[] }

export type TensorInput =
  | { kind: "table"; tensor: Tensor; title: string; help: string; columns: Field[]; rowsFixed: number | null }
  | { kind: "image"; tensor: Tensor; title: string; help: string; layout: "CHW" | "HWC"; height: number; width: number }
  | { kind: "values"; tensor: Tensor; title: string; help: string };

export interface SentTensor { name: string; datatype: string; shape: number[]; data: Value[] }

/** Tables with more columns than this are given as plain values. */
export const COLUMNS_MAX = 32;
/** A larger picture would not fit the body that a router takes, as JSON. */
export const PIXELS_MAX = 512 * 512;

const INTEGERS: Record<string, [number, number]> = {
  INT8: [-128, 127], INT16: [-32_768, 32_767], INT32: [-(2 ** 31), 2 ** 31 - 1],
  INT64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  UINT8: [0, 255], UINT16: [0, 65_535], UINT32: [0, 2 ** 32 - 1], UINT64: [0, Number.MAX_SAFE_INTEGER],
};

/** A schema of one value of this datatype. */
export function schemaOf(datatype: string): JsonSchema {
  if (datatype === "BOOL") return { type: "boolean" };
  if (datatype === "BYTES") return { type: "string" };
  const bounds = INTEGERS[datatype];
  return bounds ? { type: "integer", minimum: bounds[0], maximum: bounds[1] } : { type: "number" };
}

function columnsOf(tensor: Tensor, schema: JsonSchema): Field[] | null {
  if (tensor.shape.length > 2) return null;
  const batched = tensor.shape.length === 2 || tensor.shape[0] === -1;
  const width = batched && tensor.shape.length === 1 ? 1 : (tensor.shape.at(-1) ?? 1);
  const given = typeof schema.items === "object" ? (schema.items.prefixItems ?? []) : [];
  if (width < 1 || (given.length !== width && width > COLUMNS_MAX)) return null;
  const one = schemaOf(tensor.datatype);
  const columns = Array.from({ length: width }, (_, i) => {
    const column = given.length === width ? { ...one, ...given[i] } : one;
    const name = column.title ?? (width === 1 ? tensor.name : `${tensor.name}[${i}]`);
    return fieldOf(name, column, true);
  });
  return columns.every((column) => column !== null) ? columns : null;
}

function imageOf(tensor: Tensor): { layout: "CHW" | "HWC"; height: number; width: number } | null {
  if (tensor.datatype === "BYTES" || tensor.datatype === "BOOL") return null;
  const [a = 0, b = 0, c = 0] = tensor.shape.slice(-3);
  if (tensor.shape.length < 3 || tensor.shape.length > 4) return null;
  const [layout, height, width] = a === 3 ? (["CHW", b, c] as const) : (["HWC", a, b] as const);
  if (layout === "HWC" && c !== 3) return null;
  return height > 0 && width > 0 && height * width <= PIXELS_MAX ? { layout, height, width } : null;
}

/** The form of one input. Every tensor has one: what is neither table nor image is a list of values. */
export function tensorInput(tensor: Tensor, schema: JsonSchema = {}): TensorInput {
  const said = { tensor, title: schema.title ?? tensor.name, help: schema.description ?? "" };
  const image = imageOf(tensor);
  if (image) return { kind: "image", ...said, ...image };
  const columns = columnsOf(tensor, schema);
  if (!columns) return { kind: "values", ...said };
  const first = tensor.shape[0] ?? 1;
  const rowsFixed = first === -1 ? null : tensor.shape.length === 1 ? 1 : first;
  return { kind: "table", ...said, columns, rowsFixed };
}

/** A table's rows as the tensor that is sent. */
export function tableTensor(tensor: Tensor, rows: Value[][]): SentTensor {
  const width = rows[0]?.length ?? 0;
  const flat = tensor.shape.length === 1;
  const shape = flat ? [rows.length * width] : [rows.length, width];
  return { name: tensor.name, datatype: tensor.datatype, shape, data: rows.flat() };
}

type ImageInput = Extract<TensorInput, { kind: "image" }>;

/** The shape of one picture as it is sent. */
export function imageShape({ tensor, layout, height, width }: ImageInput): number[] {
  const shape = layout === "CHW" ? [3, height, width] : [height, width, 3];
  return tensor.shape.length === 4 ? [1, ...shape] : shape;
}

/** RGBA pixels (0 to 255, row by row) as a tensor of RGB: 0 to 1 for floats, bytes for integers. */
export function imageTensor(input: ImageInput, pixels: ArrayLike<number>): SentTensor {
  const { tensor, layout, height, width } = input;
  const whole = tensor.datatype in INTEGERS;
  const at = (i: number, channel: number): number => {
    const value = pixels[4 * i + channel] ?? 0;
    return whole ? value : Math.round((value / 255) * 1e4) / 1e4;
  };
  const count = height * width;
  const data: number[] = [];
  if (layout === "CHW") for (let c = 0; c < 3; c++) for (let i = 0; i < count; i++) data.push(at(i, c));
  else for (let i = 0; i < count; i++) for (let c = 0; c < 3; c++) data.push(at(i, c));
  return { name: tensor.name, datatype: tensor.datatype, shape: imageShape(input), data };
}

export interface OutputTensor { name: string; datatype: string; shape: number[]; data: Value[] }
export interface Shown { name: string; head: string[]; rows: string[][]; top: { n: number; of: number } | null }

export const TOP = 5;
const WIDE = 16;

export function formatted(value: Value | null | undefined): string {
  return typeof value === "number" ? figure(value) : String(value ?? "");
}

/** An output as a table: a row an example; of wide ones the highest values, with their places. */
export function shownOutput(output: OutputTensor): Shown {
  const width = output.shape.length > 1 ? Math.max(output.shape.slice(1).reduce((a, b) => a * b, 1), 1) : 1;
  const rows = Array.from({ length: Math.ceil(output.data.length / width) }, (_, i) => output.data.slice(i * width, (i + 1) * width));
  if (width <= WIDE) {
    const head = width === 1 ? [output.name] : Array.from({ length: width }, (_, i) => `${output.name}[${i}]`);
    return { name: output.name, head, rows: rows.map((row) => row.map(formatted)), top: null };
  }
  const best = rows.map((row) =>
    row.map((value, i): [number, Value] => [i, value])
      .sort(([, a], [, b]) => Number(b) - Number(a))
      .slice(0, TOP)
      .map(([i, value]) => `[${i}] ${formatted(value)}`),
  );
  return { name: output.name, head: Array.from({ length: TOP }, (_, i) => `${i + 1}.`), rows: best, top: { n: TOP, of: width } };
}

/** The values in free text. A comma stands between two of them, or inside if only so there are as many as wanted. */
function valuesOf(text: string, wanted: number, language?: string): string[] {
  const values = text.split(/[\s,;]+/).filter(Boolean);
  if (values.length === wanted) return values;
  const spaced = text.split(/[\s;]+/).filter(Boolean).map((value) => withPoint(value, language));
  return spaced.length === wanted && spaced.every((value) => Number.isFinite(Number(value))) ? spaced : values;
}

/** Numbers (or words, for BYTES) out of free text, and their shape: `-1` is what remains. */
export function valuesTensor(
  tensor: Tensor, text: string, shapeText: string, language?: string,
): SentTensor | { problem: string; values: Record<string, string | number> } {
  const shape = shapeText.split(/[\s,x×]+/).filter(Boolean).map(Number);
  const rank = tensor.shape.length;
  if (shape.length !== rank || shape.some((side) => !Number.isInteger(side) || side < 1)) {
    return { problem: "shape", values: { rank } };
  }
  const wanted = shape.reduce((a, b) => a * b, 1);
  const words = valuesOf(text, wanted, language);
  if (words.length !== wanted) return { problem: "count", values: { found: words.length, wanted } };
  if (tensor.datatype === "BYTES") return { ...tensor, shape, data: words };
  const numbers = words.map(Number);
  if (numbers.some((value) => !Number.isFinite(value))) return { problem: "number", values: {} };
  // One that lost digits as it was read would be another than was typed.
  if (tensor.datatype in INTEGERS && !numbers.every(Number.isSafeInteger)) return { problem: "integer", values: {} };
  const data = tensor.datatype === "BOOL" ? numbers.map(Boolean) : numbers;
  return { name: tensor.name, datatype: tensor.datatype, shape, data };
}
