import assert from "node:assert/strict";
import { test } from "node:test";
import { formatted, imageShape, imageTensor, shownOutput, tableTensor, tensorInput, valuesTensor, type Tensor } from "../playground/inputs/tensors";
import { figure } from "../playground/words";

const tensor = (datatype: string, ...shape: number[]): Tensor => ({ name: "X", datatype, shape });

test("every tensor has a form", () => {
  const kinds: [Tensor, string][] = [
    [tensor("FP32", -1, 8), "table"], [tensor("BYTES", -1, 1), "table"], [tensor("BYTES", -1), "table"],
    [tensor("BOOL", 3), "table"], [tensor("FP32", -1, 3, 224, 224), "image"], [tensor("UINT8", -1, 32, 32, 3), "image"],
    [tensor("UINT8", 3, 8, 8), "image"],
    [tensor("FP32", -1, 512), "values"], [tensor("FP32", -1, 4, 4), "values"], [tensor("FP32", -1, 3, -1, -1), "values"],
    [tensor("FP32", -1, 3, 4096, 4096), "values"],
  ];
  for (const [one, kind] of kinds) assert.equal(tensorInput(one).kind, kind, one.shape.join());
});

test("a schema names and bounds the columns in the tensor's order", () => {
  const schema = { title: "Rows", items: { prefixItems: [{ title: "b", type: "integer", minimum: 1 }, { title: "a" }] } };
  const input = tensorInput(tensor("FP32", -1, 2), schema);
  assert.ok(input.kind === "table");
  if (input.kind !== "table") return;
  assert.deepEqual(input.columns.map(({ title, kind, min }) => [title, kind, min]), [["b", "integer", 1], ["a", "number", null]]);
  assert.equal(input.rowsFixed, null);
  const fixed = tensorInput(tensor("INT8", 2, 2));
  assert.equal(fixed.kind === "table" && fixed.rowsFixed, 2);
  assert.equal(fixed.kind === "table" && fixed.columns[0]?.max, 127);
});

test("rows are sent flat, with their shape", () => {
  const sent = tableTensor(tensor("FP32", -1, 2), [[1, 2], [3, 4]]);
  assert.deepEqual(sent, { name: "X", datatype: "FP32", shape: [2, 2], data: [1, 2, 3, 4] });
  assert.deepEqual(tableTensor(tensor("FP32", 2), [[1, 2]]).shape, [2]);
});

test("pixels keep their channel's place", () => {
  const pixels = [255, 0, 51, 255, 0, 255, 102, 255];
  const input = (datatype: string, ...shape: number[]) => {
    const found = tensorInput(tensor(datatype, ...shape));
    if (found.kind !== "image") throw new Error("no image");
    return found;
  };
  assert.deepEqual(imageTensor(input("FP32", -1, 3, 1, 2), pixels), { name: "X", datatype: "FP32", shape: [1, 3, 1, 2], data: [1, 0, 0, 1, 0.2, 0.4] });
  assert.deepEqual(imageTensor(input("UINT8", 1, 2, 3), pixels), { name: "X", datatype: "UINT8", shape: [1, 2, 3], data: [255, 0, 51, 0, 255, 102] });
});

test("what a picture is charged for is the first axis of what is sent", () => {
  for (const shape of [[-1, 3, 8, 8], [1, 8, 8, 3], [3, 8, 8], [8, 4, 3]]) {
    const input = tensorInput(tensor("UINT8", ...shape));
    if (input.kind !== "image") throw new Error("no image");
    const sent = imageTensor(input, new Uint8Array(4 * input.height * input.width));
    assert.deepEqual(imageShape(input), sent.shape, shape.join());
    assert.equal(imageShape(input)[0], Math.max(shape[0] ?? 0, 1), shape.join());
  }
});

test("free values must fill their shape", () => {
  assert.deepEqual(valuesTensor(tensor("FP32", -1, 2), "1, 2; 3 4", "2 × 2"), { name: "X", datatype: "FP32", shape: [2, 2], data: [1, 2, 3, 4] });
  assert.deepEqual(valuesTensor(tensor("FP32", -1, 2), "1 2 3", "2x2"), { problem: "count", values: { found: 3, wanted: 4 } });
  assert.deepEqual(valuesTensor(tensor("FP32", -1, 2), "1 2", "2"), { problem: "shape", values: { rank: 2 } });
  assert.deepEqual(valuesTensor(tensor("FP32", -1, 2), "1 x", "1 2"), { problem: "number", values: {} });
});

test("a comma is inside of values only where the page's language has it, and their number says so", () => {
  const two = { name: "X", datatype: "FP32", shape: [1, 2], data: [0.5, 1.25] };
  for (const text of ["0,5 1,25", "0,5; 1,25", "0.5, 1.25"]) {
    assert.deepEqual(valuesTensor(tensor("FP32", -1, 2), text, "1 2", "pt-BR"), two, text);
  }
  assert.deepEqual(valuesTensor(tensor("FP32", -1, 2), "1,2", "1 2", "pt-BR"), { ...two, data: [1, 2] });
  assert.deepEqual(valuesTensor(tensor("FP32", -1, 2), "0,5 1,25", "1 2", "en"), { problem: "count", values: { found: 4, wanted: 2 } });
});

test("a wide output shows its highest values with their places", () => {
  const data = Array.from({ length: 40 }, (_, i) => (i * 7) % 20);
  const shown = shownOutput({ name: "P", datatype: "FP32", shape: [2, 20], data });
  assert.deepEqual(shown.top, { n: 5, of: 20 });
  assert.equal(shown.rows.length, 2);
  assert.equal(shown.rows[0]?.[0], "[17] 19");
  const narrow = shownOutput({ name: "P", datatype: "FP32", shape: [2, 1], data: [0.123456789, 1] });
  assert.deepEqual([narrow.head, narrow.rows], [["P"], [["0.12346"], ["1"]]]);
  assert.deepEqual([formatted(1.5e-9), formatted("a.b"), formatted(true), formatted(null)], ["1.5e-9", "a.b", "true", ""]);
  assert.deepEqual([figure(0.5, "pt-BR"), figure(-1234.56789, "pt-BR"), figure(12, "pt-BR")], ["0,5", "-1234,6", "12"]);
});
