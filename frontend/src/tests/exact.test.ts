import assert from "node:assert/strict";
import { test } from "node:test";
import { readExact } from "../playground/call/exact";
import { shownOutput, valuesTensor, type OutputTensor } from "../playground/inputs/tensors";

test("an integer of 64 bits is shown with all its digits", () => {
  const { outputs: [output] } = readExact<{ outputs: [OutputTensor] }>(
    '{"outputs": [{"name": "id", "datatype": "INT64", "shape": [3], "data": [9007199254740993, -9223372036854775808, 7]}]}',
  );
  assert.deepEqual(shownOutput(output).rows, [["9007199254740993"], ["-9223372036854775808"], ["7"]]);
});

test("texts and numbers with decimals stay as they are", () => {
  const text = '{"say \\"9007199254740993\\"": "of 9007199254740993", "x": 0.12345678901234567, "y": 1e300, "z": 12345678901234567.5}';
  assert.deepEqual(readExact(text), JSON.parse(text));
});

test("an integer that would lose digits is not sent as another", () => {
  const tensor = { name: "id", datatype: "INT64", shape: [1] };
  assert.deepEqual(valuesTensor(tensor, "9007199254740993", "1"), { problem: "integer", values: {} });
  assert.deepEqual(valuesTensor(tensor, "1.5", "1"), { problem: "integer", values: {} });
  assert.deepEqual(valuesTensor(tensor, "-7", "1"), { ...tensor, data: [-7] });
});
