// The maximum cost of a call, as the router quotes it, and what earlier calls took. Pure.
import type { Call, Message } from "./request";
import type { Quote } from "../../router-client";
import { dollars, milliseconds, say, type Words } from "../words";

export interface Measured { calls: number; ttft_ms_p50: number; total_ms_p50: number }

export interface Asked { model: string; call: Call | null }

/** The call less what its cost does not depend on: pictures' data and tensors' values. */
export function quotedCall(call: Call): Call {
  const { path, body } = call;
  const { messages, inputs } = body as { messages?: Message[]; inputs?: { name: string; shape: number[]; datatype: string }[] };
  if (inputs) {
    return { path, body: { inputs: inputs.map(({ name, shape, datatype }) => ({ name, shape, datatype })) } };
  }
  if (!messages) return call;
  const light = messages.map((message) => typeof message.content === "string" ? message : {
    ...message,
    content: message.content.map((part) => part.type === "text" ? part : { ...part, image_url: { url: "data:," } }),
  });
  return { path, body: { ...body, messages: light } };
}

export function measuredUrl(model: string): string {
  return `/api/v1/quotes?${new URLSearchParams({ model }).toString()}`;
}

/** One line: the size asked about, its cost by provider, and the latency that was measured.
 *
 * `unit` names what is counted, where that is neither tokens nor rows.
 */
export function quoteText(quote: Quote, measured: Measured | null, words: Words, unit?: string): string {
  const parts: string[] = [];
  const { rows, images, prompt_tokens, most_completion_tokens } = quote;
  if (unit) parts.push(`${unit}: ${rows || images}`);
  else if (rows) parts.push(say(words, rows === 1 ? "quoteRow" : "quoteRows", { n: rows }));
  else parts.push(say(words, "quoteTokens", { in: prompt_tokens, out: most_completion_tokens }));
  const costs = quote.providers.map((one) => one.most_nano_usd);
  const low = dollars(Math.min(...costs)), high = dollars(quote.most_nano_usd);
  parts.push(low === high ? say(words, "quoteCost", { high }) : say(words, "quoteRange", { low, high }));
  const isWhole = measured !== null && !measured.ttft_ms_p50; // Its first byte is not seen apart.
  parts.push(measured
    ? say(words, isWhole ? "quoteMeasuredWhole" : "quoteMeasured", { ttft: milliseconds(measured.ttft_ms_p50), total: milliseconds(measured.total_ms_p50), calls: measured.calls })
    : say(words, "quoteUnmeasured"));
  return parts.join(" · ");
}
