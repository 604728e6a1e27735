// Of what each engine's score is made. Pure; the record of a call says the same: marketplace/usage/decisions/terms.py.
import type { Candidate } from "../../router-client";

/** A name and what it means, by term, in the order in which they pass. */
export type TermWords = Record<string, string[]>;

export interface Part { name: string; from: number; ms: number }

export interface Stack { worker: string; chosen: boolean; parts: Part[]; totalMs: number; cached: number; prompt: number }

/** Milliseconds by term; the penalty alone for a place that is no engine. */
export function times({ wait_ms, terms, penalty_ms = 0 }: Candidate): [string, number][] {
  if (!terms) return [["penalty", penalty_ms]];
  const { ahead_ms, prefill_ms, decode_ms, others_ms } = terms;
  return [["wait", wait_ms], ["ahead", ahead_ms], ["prefill", prefill_ms], ["decode", decode_ms], ["others", others_ms], ["penalty", penalty_ms]];
}

/** The terms of each engine one after the other. */
export function stacks(candidates: Candidate[]): Stack[] {
  return candidates.flatMap((one) => {
    if (!one.terms) return [];
    let totalMs = 0;
    const parts = times(one).map(([name, ms]): Part => {
      totalMs += ms;
      return { name, from: totalMs - ms, ms };
    });
    const { cached_tokens: cached, prompt_tokens: prompt } = one.terms;
    return [{ worker: one.worker_id, chosen: one.verdict === "chosen", parts, totalMs, cached, prompt }];
  });
}

/** The term by which one that lost is most of `behindMs` worse; none where no term is. */
export function mostBehind(lost: Candidate, chosen: Candidate, behindMs: number): string | null {
  const ours = new Map(times(chosen));
  const worse = times(lost).map(([name, ms]): [string, number] => [name, ms - (ours.get(name) ?? ms)]);
  const found = worse.reduce<[string, number] | null>((most, one) => (most && most[1] >= one[1] ? most : one), null);
  return found && found[1] > behindMs / 2 ? found[0] : null;
}
