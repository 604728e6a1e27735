import assert from "node:assert/strict";
import { test } from "node:test";
import { adviceOf } from "../playground/report/advice";
import { codeOf, pythonLiteral, shellQuoted } from "../playground/call/code";
import { chatCall, imagesOf, inferCall, speechCall, textOf, transcriptionCall, userMessage } from "../playground/call/request";
import { lines } from "../playground/tasks";

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

test("a file goes up as a form, and sound that comes is saved", () => {
  const up = transcriptionCall("a/b", new File(["x"], "it's.wav"), "pt");
  const curl = codeOf("curl", "http://r", up).code;
  assert.match(curl, /-F 'model=a\/b' \\\n {2}-F 'language=pt' \\\n {2}-F 'file=@it'\\''s.wav'$/);
  assert.equal(curl.includes("application/json"), false);
  assert.match(codeOf("Python", "http://r", up).code, /data=\{\n.*"language": "pt",\n.*\},\n {4}files=\{"file": open\("it's.wav", "rb"\)\},/s);
  assert.match(codeOf("JavaScript", "http://r", up).code, /form.append\("language", "pt"\);\nform.append\("file", await openAsBlob\("it's.wav"\), "it's.wav"\);/);
  const down = speechCall("a/b", "Hi", "alloy");
  assert.match(codeOf("curl", "http://r", down).code, /-d '.*' \\\n {2}-o speech.wav$/s);
  assert.match(codeOf("Python", "http://r", down).code, /open\("speech.wav", "wb"\)/);
  assert.match(codeOf("JavaScript", "http://r", down).code, /^import \{ writeFile \} from "node:fs\/promises";/);
});

test("a document is a line that is not empty", () => {
  assert.deepEqual(lines(" a \n\n b\r\n"), ["a", "b"]);
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
