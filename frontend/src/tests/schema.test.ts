import assert from "node:assert/strict";
import { test } from "node:test";
import { fieldOf, fieldsOf, takesImages, type Field, type JsonSchema } from "../playground/inputs/schema";
import { isProblem, parse } from "../playground/inputs/validate";

const SCHEMA: JsonSchema = {
  type: "object",
  required: ["prompt"],
  properties: {
    seed: { type: ["integer", "null"], minimum: 0, maximum: 9, "x-order": 2 },
    prompt: { type: "string", title: "Prompt", description: "What to draw", maxLength: 3, pattern: "^a", "x-order": 1 },
    style: { enum: ["oil", "ink"], default: "ink" },
    scale: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 2 },
    fast: { type: "boolean", default: false },
    parts: { type: "array" },
    messages: { type: "array" },
  },
};

function field(name: string): Field {
  const found = fieldsOf(SCHEMA).find((one) => one.name === name);
  if (!found) throw new Error(name);
  return found;
}

test("a schema's single values become fields, those with an order first", () => {
  const fields = fieldsOf(SCHEMA, new Set(["fast"]));
  assert.deepEqual(fields.map(({ name, kind }) => [name, kind]), [
    ["prompt", "text"], ["seed", "integer"], ["style", "enum"], ["scale", "number"],
  ]);
  assert.deepEqual([field("prompt").required, field("seed").required], [true, false]);
  assert.equal(field("prompt").help, "What to draw");
  assert.deepEqual([field("style").initial, field("fast").initial], ["ink", "false"]);
  assert.equal(fieldOf("x", { type: "object" }, false), null);
});

test("a decimal comma is one where the page's language has it", () => {
  assert.deepEqual(parse(field("scale"), "0,5", "pt-BR"), { value: 0.5 });
  assert.deepEqual(parse(field("scale"), "0.5", "pt-BR"), { value: 0.5 });
  assert.ok(isProblem(parse(field("scale"), "0,5", "en")));
  assert.ok(isProblem(parse(field("scale"), "0,5,1", "pt-BR")));
});

test("what is typed is checked by its field", () => {
  const problems: [string, string, string][] = [
    ["prompt", "", "required"], ["prompt", "abcd", "long"], ["prompt", "b", "pattern"],
    ["seed", "1.5", "integer"], ["seed", "-1", "min"], ["seed", "10", "max"], ["seed", "x", "integer"],
    ["scale", "0", "above"], ["scale", "2", "below"], ["scale", "1e999", "number"],
    ["style", "chalk", "option"], ["fast", "maybe", "option"],
  ];
  for (const [name, text, problem] of problems) {
    const parsed = parse(field(name), text);
    assert.equal("problem" in parsed && parsed.problem, problem, `${name}=${text}`);
  }
  const values: [string, string, unknown][] = [
    ["prompt", "ab", "ab"], ["seed", " 9 ", 9], ["seed", "", undefined], ["scale", "0.5", 0.5],
    ["style", "oil", "oil"], ["fast", "1", true], ["fast", "FALSE", false],
  ];
  for (const [name, text, value] of values) assert.deepEqual(parse(field(name), text), { value }, `${name}=${text}`);
});

test("what is chosen is sent as the schema has it, and nothing is the default of null", () => {
  const chosen = fieldOf("n", { enum: [0, 1, true, "x", null], default: 1 }, true) as Field;
  assert.deepEqual([chosen.options, chosen.initial], [["0", "1", "true", "x"], "1"]);
  assert.deepEqual(["0", "1", "true", "x"].map((text) => parse(chosen, text)), [{ value: 0 }, { value: 1 }, { value: true }, { value: "x" }]);
  const open = fieldOf("n", { type: ["integer", "null"], default: null }, false) as Field;
  assert.deepEqual([open.initial, parse(open, open.initial)], ["", { value: undefined }]);
});

test("a pattern that this language cannot read refuses nothing", () => {
  const pattern = fieldOf("t", { type: "string", pattern: "(?P<word>a+)" }, true) as Field;
  assert.deepEqual(parse(pattern, "b"), { value: "b" });
});

test("a text's length is counted in characters, not in UTF-16", () => {
  const short = fieldOf("t", { type: "string", maxLength: 2 }, true) as Field;
  assert.deepEqual(parse(short, "🚂🚂"), { value: "🚂🚂" });
});

test("a chat takes images when its schema says so", () => {
  const part = { type: "object", properties: { type: { enum: ["text", "image_url"] } } };
  assert.equal(takesImages({ properties: { messages: { type: "array", items: part } } }), true);
  assert.equal(takesImages(SCHEMA), false);
});
