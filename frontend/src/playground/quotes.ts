// What a call would cost and take, out of what /api/v1/quotes answers. Pure.
import { dollars, milliseconds, say, type Words } from "./words";

export interface Measured { calls: number; ttft_ms_p50: number; total_ms_p50: number }
export interface Quote { provider: string; charge_nano: number; measured: Measured | null }

export interface Asked { model: string; provider: string; prompt_tokens: number; completion_tokens: number; rows: number; images: number }

export function quoteUrl({ model, prompt_tokens, completion_tokens, rows, images }: Asked): string {
  const counts = { prompt_tokens, completion_tokens, rows, images };
  const query = new URLSearchParams({ model });
  for (const [name, count] of Object.entries(counts)) if (count) query.set(name, String(count));
  return `/api/v1/quotes?${query.toString()}`;
}

/** One line: the size asked about, its cost by provider, and the latency that was measured. */
export function quoteText(asked: Asked, quotes: Quote[], words: Words): string {
  const offered = quotes.filter((quote) => !asked.provider || quote.provider === asked.provider);
  const parts: string[] = [];
  if (asked.rows) parts.push(say(words, asked.rows === 1 ? "quoteRow" : "quoteRows", { n: asked.rows }));
  else parts.push(say(words, "quoteTokens", { in: asked.prompt_tokens, out: asked.completion_tokens }));
  const costs = offered.map((quote) => quote.charge_nano);
  if (!costs.length) return [...parts, say(words, "quoteNone")].join(" · ");
  const low = dollars(Math.min(...costs)), high = dollars(Math.max(...costs));
  parts.push(low === high ? say(words, "quoteCost", { high }) : say(words, "quoteRange", { low, high }));
  const measured = offered[0]?.measured;
  parts.push(measured
    ? say(words, "quoteMeasured", { ttft: milliseconds(measured.ttft_ms_p50), total: milliseconds(measured.total_ms_p50), calls: measured.calls })
    : say(words, "quoteUnmeasured"));
  return parts.join(" · ");
}
