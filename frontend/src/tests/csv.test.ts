import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCsv, rowsFromCsv } from "../playground/inputs/csv";

test("separators, quotes, line ends and empty lines", () => {
  assert.deepEqual(parseCsv("1,2\r\n\r\n3,4\n"), [["1", "2"], ["3", "4"]]);
  assert.deepEqual(parseCsv("1,5;2\n3;4"), [["1,5", "2"], ["3", "4"]]);
  assert.deepEqual(parseCsv("a\tb\n"), [["a", "b"]]);
  assert.deepEqual(parseCsv('"a, ""b""\nc",d'), [['a, "b"\nc', "d"]]);
  assert.deepEqual(parseCsv('"a'), { problem: "csvQuote", values: {} });
  assert.deepEqual(parseCsv(" \n"), { problem: "csvEmpty", values: {} });
});

test("a first line with the names sets the order, and may have more than is needed", () => {
  assert.deepEqual(rowsFromCsv("b,id,a\n2,x,1\n", ["a", "b"], 9), [["1", "2"]]);
  assert.deepEqual(rowsFromCsv("1, 2", ["a", "b"], 9), [["1", "2"]]);
});

test("what does not fit is said with its line", () => {
  assert.deepEqual(rowsFromCsv("1,2\n3", ["a", "b"], 9), { problem: "csvWidth", values: { line: 2, found: 1, wanted: 2 } });
  assert.deepEqual(rowsFromCsv("a,b\n1,2\n3", ["a", "b"], 9), { problem: "csvWidth", values: { line: 3, found: 1, wanted: 2 } });
  assert.deepEqual(rowsFromCsv("1\n2\n3", ["a"], 2), { problem: "rowsMax", values: { max: 2 } });
  assert.deepEqual(rowsFromCsv("a,b", ["a", "b"], 2), { problem: "csvEmpty", values: {} });
});
