import assert from "node:assert/strict";
import { test } from "node:test";
import { adviceOf } from "../playground/report/advice";
import { codeOf, pythonLiteral, shellQuoted } from "../playground/call/code";
import { chatCall, imagesOf, inferCall, textOf, userMessage } from "../playground/call/request";

const SETTINGS = { system: "Be brief.", temperature: null, max_tokens: 9, stop: [], more: {} };

test("a chat's body has what was chosen and nothing else", () => {
  const { path, body } = chatCall("a/b", "", [userMessage("Hi", [])], SETTINGS);
  assert.equal(path, "/v1/chat/completions");
  assert.deepEqual(body, {
    model: "a/b", stream: true, max_tokens: 9,
    messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "Hi" }],
  });
  const more = chatCall("a/b", "north", [], { ...SETTINGS, system: "", temperature: 0, stop: ["."], more: { seed: 1 } }).body;
  assert.deepEqual(more, { model: "a/b", stream: true, max_tokens: 9, messages: [], seed: 1, temperature: 0, stop: ["."], provider: { only: ["north"] } });
});

test("images travel as parts of the message", () => {
  const message = userMessage("What is it?", ["data:x"]);
  assert.deepEqual([textOf(message), imagesOf(message)], ["What is it?", ["data:x"]]);
  assert.deepEqual(imagesOf(userMessage("Hi", [])), []);
});

test("tokens are estimated by bytes, rows by the first axis", () => {
});

test("code is quoted for its language, and long lists are cut", () => {
  assert.equal(shellQuoted("it's"), `'it'\\''s'`);
  assert.equal(pythonLiteral({ a: [true, null, "x"] }), '{\n    "a": [True, None, "x"],\n}');
  const call = inferCall("a/b", [{ name: "X", datatype: "FP32", shape: [1, 40], data: Array.from({ length: 40 }, (_, i) => i) }]);
  for (const language of ["curl", "Python", "JavaScript"] as const) {
    const { code, left } = codeOf(language, "http://r", call);
    assert.equal(left, 8);
    assert.match(code, /http:\/\/r\/v2\/models\/a\/b\/infer/);
    assert.match(code, /WAYPOST_API_KEY/);
    assert.equal(code.includes("39"), false);
  }
});

test("each failure of the router says what to do next", () => {
  const of = (status: number, code = "", retryAfterS: number | null = null) => adviceOf({ status, code, retryAfterS });
  assert.equal(of(402, "insufficient_credit")?.link?.url, "billing");
  assert.equal(of(402, "budget_exhausted")?.link?.url, "budgets");
  assert.deepEqual([of(429, "", 7)?.seconds, of(429)?.seconds], [7, 1]);
  assert.equal(of(503, "", 3)?.seconds, 3);
  assert.equal(of(401)?.link?.url, "login");
  assert.equal(of(0)?.word, "adviceUnreachable");
  assert.deepEqual([of(502)?.word, of(502, "broken_stream")?.word], ["adviceFailed", "adviceBroken"]);
  assert.equal(of(422), null);
});
