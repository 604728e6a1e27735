import assert from "node:assert/strict";
import { test } from "node:test";
import { DAY_S, momentsOf } from "../islands/moments";

const MIDNIGHT = Date.UTC(2026, 9, 5) / 1000;
const AFTERNOON = MIDNIGHT + 15 * 3600;

test("times of charts are UTC's, in the page's language", () => {
  const [english, portuguese] = [momentsOf("en"), momentsOf("pt-br")];
  assert.deepEqual(english.ticks([MIDNIGHT, AFTERNOON], 3600), ["10/5", "15:00"]);
  assert.deepEqual(portuguese.ticks([MIDNIGHT, AFTERNOON], 3600), ["05/10", "15:00"]);
  assert.deepEqual(portuguese.ticks([AFTERNOON], DAY_S), ["05/10"]);
  assert.match(portuguese.moment(AFTERNOON), /^05\/10\/2026,? 15:00$/);
  assert.match(portuguese.date(AFTERNOON), /out/);
});
