import assert from "node:assert/strict";
import { test } from "node:test";
import { bars, ordered, reasons, restOfScore, retries } from "../playground/report/explain";
import { measuredUrl, quotedCall, quoteText } from "../playground/call/quotes";
import { chatCall, embeddingsCall, inferCall, userMessage } from "../playground/call/request";
import { mostBehind, stacks } from "../playground/report/terms";
import { dollars, milliseconds, say } from "../playground/words";
import type { Candidate, Route } from "../router-client";

const WORDS = {
  whyChosen: "{worker} of {n} at {score}", whyOnly: "only {worker}", whyLost: "{worker}: {reason}",
  whyBehind: "{seconds} behind", whyMost: "mostly {term}", whyMore: "{n} more", outrun: "{worker} late", outrunHedge: "{worker} too", gaveUp: "{worker} last: {outcome}", whyLeft: "left {worker}", retried: "{worker} failed: {outcome}",
  late: "late", attempt: "Attempt {n}, {worker}", quoteTokens: "{in} in {out} out", quoteRow: "1 row", quoteRows: "{n} rows", quoteCost: "{high}",
  quoteRange: "{low} to {high}", quoteNone: "nobody", quoteMeasured: "{ttft} {total} of {calls}", quoteMeasuredWhole: "{total} of {calls}", quoteUnmeasured: "not measured",
};
const NAMES = { queue: "q", first: "f", stream: "s" };
const place = (worker_id: string, verdict: string, score: number, service_ms = 100): Candidate =>
  ({ worker_id, pool: "p", verdict, wait_ms: 0, service_ms, score });
const attempt = (worker_id: string, outcome: string, queue_ms: number) => ({ worker_id, pool: "p", outcome, queue_ms, upstream_ms: 50 });
const route = (values: Partial<Route>): Route => ({
  request_id: "1", pool: "p", worker: "w", hardware: "h", emulated: false, provider: "n", attempts: [], queue_ms: 10, hedge_ms: 0,
  ttft_ms: 30, total_ms: 100, cost_nano_usd: 1, cost_usd: "0", cost_lines: [],
  usage: { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, rows: 0, images: 0 }, candidates: [], ...values,
});

test("the chosen one is said first, then each that lost and why", () => {
  const candidates = [place("c", "unhealthy", 0), place("b", "slower", 0.4), place("a", "chosen", 0.1)];
  assert.deepEqual(ordered(candidates).map((one) => one.worker_id), ["a", "b", "c"]);
  assert.deepEqual(reasons(route({ candidates }), WORDS, { slower: "slow", unhealthy: "ill" }), [
    "a of 3 at 0.100", "b: slow; 300 ms behind", "c: ill",
  ]);
  assert.deepEqual(reasons(route({ candidates: [place("a", "chosen", 1)] }), WORDS, {}), ["only a"]);
  assert.deepEqual(reasons(route({}), WORDS, {}), []);
  const many = [place("a", "chosen", 0), ...Array.from({ length: 9 }, (_, i) => place(`b${i}`, "slower", i))];
  assert.equal(reasons(route({ candidates: many }), WORDS, {}).at(-1), "3 more");
});

test("the score is service, a penalty and a rest", () => {
  assert.equal(restOfScore(place("a", "chosen", 0.5, 100)).toFixed(3), "0.400");
  assert.equal(restOfScore(place("a", "chosen", 0.05, 100)), 0);
  assert.equal(restOfScore({ ...place("a", "chosen", 0.5, 100), penalty_ms: 300 }).toFixed(3), "0.100");
});

test("time is split into parts, with each attempt if there were several", () => {
  assert.deepEqual(bars(route({}), NAMES, WORDS).map(({ from, to }) => [from, to]), [[0, 10], [10, 30], [30, 100]]);
  const attempts = [attempt("b", "completed", 40), attempt("a", "outrun", 10)];
  const tried = bars(route({ attempts }), NAMES, WORDS).slice(3);
  assert.deepEqual(tried.map(({ name, from, to }) => [name, from, to]), [["Attempt 1, a", 10, 60], ["Attempt 2, b", 40, 90]]);
  assert.deepEqual(retries(route({ attempts }), WORDS), ["a late"]);
  assert.deepEqual(retries(route({ attempts: [attempt("a", "worker_failed:reset", 0), attempt("b", "completed", 9)] }), WORDS), ["a failed: worker_failed:reset"]);
  assert.deepEqual(retries(route({ attempts: [attempt("a", "completed", 10), attempt("b", "outrun", 40)] }), WORDS), ["b too"]);
  assert.deepEqual(retries(route({ attempts: [attempt("a", "reset", 0), attempt("b", "timeout", 9)] }), WORDS), ["a failed: reset", "b last: timeout"]);
  const after = route({ candidates: [place("a", "chosen", 1)], attempts: [attempt("b", "reset", 0), attempt("a", "completed", 9)] });
  assert.deepEqual(reasons(after, WORDS, {}), ["left a"]);
  assert.deepEqual(bars(route({ hedge_ms: 15 }), NAMES, WORDS).map(({ name, from, to }) => [name, from, to]), [
    ["q", 0, 10], ["late", 10, 25], ["f", 25, 30], ["s", 30, 100],
  ]);
  // An answer that never began to stream is all first byte.
  assert.deepEqual(bars(route({ ttft_ms: 0 }), NAMES, WORDS)[2], { kind: "stream", name: "s", from: 100, to: 100 });
});

const terms = (ahead_ms: number, prefill_ms: number, decode_ms: number, others_ms: number, cached_tokens = 0) =>
  ({ ahead_ms, prefill_ms, decode_ms, others_ms, prompt_tokens: 500, cached_tokens, answer_tokens: 20 });

test("an engine's terms are laid one after the other, and what is no engine has none", () => {
  const there = { ...place("e", "chosen", 0.1), wait_ms: 5, terms: terms(10, 20, 30, 40, 64) };
  const [stack, ...more] = stacks([there, place("slots", "slower", 0.2)]);
  assert.equal(more.length, 0);
  assert.deepEqual(stack, {
    worker: "e", chosen: true, totalMs: 105, cached: 64, prompt: 500,
    parts: [
      { name: "wait", from: 0, ms: 5 }, { name: "ahead", from: 5, ms: 10 }, { name: "prefill", from: 15, ms: 20 },
      { name: "decode", from: 35, ms: 30 }, { name: "others", from: 65, ms: 40 }, { name: "penalty", from: 105, ms: 0 },
    ],
  });
});

test("a term is named when it is most of what an engine is behind by", () => {
  const chosen = { ...place("a", "chosen", 0.1), terms: terms(10, 20, 30, 40) };
  const queued = { ...place("b", "slower", 0.3), terms: terms(190, 30, 40, 40) };
  const mixed = { ...place("c", "slower", 0.3), terms: terms(80, 90, 90, 40) };
  assert.equal(mostBehind(queued, chosen, 200), "ahead");
  assert.equal(mostBehind(mixed, chosen, 200), null);
  assert.equal(mostBehind(place("slots", "slower", 0.3), chosen, 200), null);
  const dear = { ...place("dear", "slower", 0.3), penalty_ms: 150 };
  assert.equal(mostBehind(dear, chosen, 200), "penalty");
  const said = reasons(route({ candidates: [chosen, queued] }), WORDS, { slower: "slow" }, { ahead: ["Prompts Ahead", ""] });
  assert.equal(said[1], "b: slow; 200 ms behind (mostly prompts ahead)");
});

test("a quote has the range of the providers, and what was measured or that nothing was", () => {
  assert.equal(measuredUrl("a/b"), "/api/v1/quotes?model=a%2Fb");
  const measured = { calls: 5, ttft_ms_p50: 20, total_ms_p50: 2000 };
  const providers = [{ provider: "n", most_nano_usd: 1000 }, { provider: "l", most_nano_usd: 2_000_000_000 }];
  const quote = { prompt_tokens: 3, most_completion_tokens: 4, rows: 0, images: 0, most_nano_usd: 2_000_000_000, providers };
  assert.equal(quoteText(quote, measured, WORDS), "3 in 4 out · $0.000001 to $2.00 · 20 ms 2.00 s of 5");
  const one = { ...quote, most_nano_usd: 1000, providers: providers.slice(0, 1) };
  assert.equal(quoteText(one, measured, WORDS), "3 in 4 out · $0.000001 · 20 ms 2.00 s of 5");
  const free = { ...quote, most_nano_usd: 0, providers: [{ provider: "n", most_nano_usd: 0 }] };
  assert.equal(quoteText({ ...free, rows: 2 }, null, WORDS), "2 rows · $0 · not measured");
  assert.equal(quoteText({ ...free, rows: 1 }, null, WORDS), "1 row · $0 · not measured");
  assert.equal(quoteText({ ...free, rows: 11 }, null, WORDS, "Characters"), "Characters: 11 · $0 · not measured");
  assert.equal(quoteText(one, { ...measured, ttft_ms_p50: 0 }, WORDS), "3 in 4 out · $0.000001 · 2.00 s of 5");
  assert.equal(quoteText({ ...free, images: 2 }, null, WORDS, "Images"), "Images: 2 · $0 · not measured");
});

test("what is asked about is the call itself, less the data that its cost does not depend on", () => {
  const message = userMessage("hi", ["data:image/png;base64,AAAA"]);
  const { body } = quotedCall(chatCall("a/b", "n", [message], { system: "s", temperature: null, max_tokens: 8, stop: [], more: {} }));
  assert.deepEqual(body, {
    model: "a/b", stream: true, max_tokens: 8, provider: { only: ["n"] },
    messages: [{ role: "system", content: "s" }, userMessage("hi", ["data:,"])],
  });
  const tensors = quotedCall(inferCall("a/b", [{ name: "X", datatype: "FP32", shape: [7, 2], data: [1, 2] }]));
  assert.deepEqual(tensors, { path: "/v2/models/a/b/infer", body: { inputs: [{ name: "X", datatype: "FP32", shape: [7, 2] }] } });
  const plain = embeddingsCall("a/b", ["x"]);
  assert.deepEqual(quotedCall(plain), plain);
});

test("figures are readable", () => {
  assert.deepEqual([milliseconds(9.87), milliseconds(123.4), milliseconds(1500)], ["9.9 ms", "123 ms", "1.50 s"]);
  assert.deepEqual([dollars(0), dollars(1095), dollars(20_000_000), dollars(1_500_000_000)], ["$0", "$0.0000011", "$0.02", "$1.50"]);
  assert.deepEqual([dollars(1_234_500_000_000), dollars(1_234_500_000_000, "pt-br")], ["$1,234.50", "$1.234,50"]);
  assert.deepEqual([milliseconds(1500, "pt-br"), dollars(1_500_000_000, "pt-br"), dollars(1095, "pt-br")], ["1,50 s", "$1,50", "$0,0000011"]);
  assert.equal(say({ a: "{x} and {y}" }, "a", { x: 1 }), "1 and {y}");
  assert.equal(say({}, "absent"), "absent");
});
