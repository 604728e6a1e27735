import assert from "node:assert/strict";
import { test } from "node:test";
import { numberAt, placeOf, type Scale } from "../slider";

const CALLS: Scale = { low: 1, high: 10_000_000, steps: 1000, isLog: true, isWhole: true };
const WEIGHT: Scale = { low: 0.1, high: 100, steps: 200, isLog: true, isWhole: false };

test("a field that takes whole numbers gets no others from its slider", () => {
  for (let place = 0; place <= CALLS.steps; place++) {
    const number = numberAt(place, CALLS);
    assert.ok(Number.isInteger(number) && number >= CALLS.low && number <= CALLS.high, `${place}: ${number}`);
  }
  assert.deepEqual([numberAt(0, CALLS), numberAt(150, CALLS), numberAt(1000, CALLS)], [1, 11, 10_000_000]);
});

test("any other field gets three digits that matter", () => {
  assert.deepEqual([numberAt(0, WEIGHT), numberAt(50, WEIGHT), numberAt(200, WEIGHT)], [0.1, 0.562, 100]);
  assert.equal(numberAt(1, { low: 0, high: 20, steps: 200, isLog: false, isWhole: false }), 0.1);
});

test("a slider stands where its field's number is", () => {
  for (const place of [0, 77, 200]) assert.equal(Math.round(placeOf(numberAt(place, WEIGHT), WEIGHT)), place);
});
