// A decision in plain words, and a call's time as bars. Pure.
import type { Candidate, Route } from "../../router-client";
import { mostBehind, type TermWords } from "./terms";
import { decimal, milliseconds, say, type Words } from "../words";

/** From and to in milliseconds since the call arrived. */
export interface Bar { kind: "queue" | "first" | "stream" | "attempt"; name: string; from: number; to: number }

/** Sentences about the workers that were not chosen; the table next to them shows all. */
export const REASONS_MAX = 6;

/** Chosen first, then by score; those that were ruled out, which have none, last. */
export function ordered(candidates: Candidate[], verdictsScored: ReadonlySet<string> = SCORED): Candidate[] {
  const rank = (one: Candidate): number => (one.verdict === "chosen" ? 0 : verdictsScored.has(one.verdict) ? 1 : 2);
  return [...candidates].sort((a, b) => rank(a) - rank(b) || a.score - b.score);
}

export const SCORED: ReadonlySet<string> = new Set(["chosen", "tied", "slower", "busy"]);

/** What price, order and preferences add to the score. */
export function penalty({ penalty_ms = 0 }: Candidate): number {
  return penalty_ms / 1000;
}

/** What of the score is neither expected service nor that: the weighted wait, and what an engine's others lose. */
export function restOfScore(candidate: Candidate): number {
  return Math.max(candidate.score - candidate.service_ms / 1000 - penalty(candidate), 0);
}

/** One sentence about the chosen place, then one for each that lost. */
export function reasons(route: Route, words: Words, verdicts: Words, terms: TermWords = {}): string[] {
  const [chosen, ...others] = ordered(route.candidates);
  if (!chosen || chosen.verdict !== "chosen") return [];
  const values = { worker: chosen.worker_id, n: route.candidates.length, score: decimal(chosen.score, 3) };
  // The places are those of the last try: what was tried before is not among them.
  const alone = route.attempts.some((one) => one.worker_id !== chosen.worker_id) ? "whyLeft" : "whyOnly";
  const said = [say(words, others.length ? "whyChosen" : alone, values)];
  for (const one of others.slice(0, REASONS_MAX)) {
    const reason = verdicts[one.verdict] ?? one.verdict;
    const behindMs = 1000 * (one.score - chosen.score);
    let behind = "";
    if (SCORED.has(one.verdict) && behindMs > 0) {
      const term = mostBehind(one, chosen, behindMs);
      const most = term ? ` (${say(words, "whyMost", { term: (terms[term]?.[0] ?? term).toLowerCase() })})` : "";
      behind = `; ${say(words, "whyBehind", { seconds: milliseconds(behindMs) })}${most}`;
    }
    said.push(say(words, "whyLost", { worker: one.worker_id, reason: reason + behind }));
  }
  if (others.length > REASONS_MAX) said.push(say(words, "whyMore", { n: others.length - REASONS_MAX }));
  return said;
}

/** What became of each try but the one that answered, in the order they were sent. */
export function retries(route: Route, words: Words): string[] {
  const sent = [...route.attempts].sort((a, b) => a.queue_ms - b.queue_ms);
  if (sent.length < 2) return [];
  const won = sent.find((one) => one.outcome === "completed");
  return sent.filter((one) => one.outcome !== "completed").map((one) => {
    const values = { worker: one.worker_id, outcome: one.outcome };
    // Either of two tries may win: the later one was sent because the earlier was late.
    if (one.outcome === "outrun") return say(words, won && won.queue_ms < one.queue_ms ? "outrunHedge" : "outrun", values);
    return say(words, !won && one === sent.at(-1) ? "gaveUp" : "retried", values);
  });
}

/** Waiting, first byte, generating; with a bar for each try where there was more than one. */
export function bars(route: Route, names: { queue: string; first: string; stream: string }, words: Words): Bar[] {
  const { queue_ms, hedge_ms, total_ms } = route;
  const ttft = route.ttft_ms > 0 ? Math.min(route.ttft_ms, total_ms) : total_ms;
  const whole: Bar[] = [
    { kind: "queue", name: names.queue, from: 0, to: queue_ms },
    ...(hedge_ms > 0 ? [{ kind: "attempt" as const, name: say(words, "late", {}), from: queue_ms, to: queue_ms + hedge_ms }] : []),
    { kind: "first", name: names.first, from: queue_ms + hedge_ms, to: ttft },
    { kind: "stream", name: names.stream, from: ttft, to: total_ms },
  ];
  if (route.attempts.length < 2) return whole;
  const sent = [...route.attempts].sort((a, b) => a.queue_ms - b.queue_ms);
  const tries = sent.map((attempt, i): Bar => ({
    kind: "attempt",
    name: say(words, "attempt", { n: i + 1, worker: attempt.worker_id }),
    from: attempt.queue_ms,
    to: attempt.queue_ms + attempt.upstream_ms,
  }));
  return [...whole, ...tries];
}
