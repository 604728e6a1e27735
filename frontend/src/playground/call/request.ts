// The bodies that are sent, and how large a prompt is. Pure.
import type { SentTensor } from "../inputs/tensors";
import type { Value } from "../inputs/validate";

export type Part = { type: "text"; text: string } | { type: "image_url"; image_url: { url: string } };
export interface Message { role: "system" | "user" | "assistant"; content: string | Part[] }

export interface ChatSettings {
  system: string;
  temperature: number | null;
  max_tokens: number;
  stop: string[];
  more: Record<string, Value>;
}

/** With a `file` it is a form, whose other fields are `body`. `saved` names the file that an answer of bytes is saved as. */
export interface Call { path: string; body: Record<string, unknown>; file?: File; saved?: string }

/** A person's message, with images where there are some (data URLs). */
export function userMessage(text: string, images: string[]): Message {
  if (!images.length) return { role: "user", content: text };
  const shown = images.map((url): Part => ({ type: "image_url", image_url: { url } }));
  return { role: "user", content: [{ type: "text", text }, ...shown] };
}

export function textOf(message: Message): string {
  if (typeof message.content === "string") return message.content;
  return message.content.map((part) => (part.type === "text" ? part.text : "")).join("");
}

export function imagesOf(message: Message): string[] {
  if (typeof message.content === "string") return [];
  return message.content.flatMap((part) => (part.type === "image_url" ? [part.image_url.url] : []));
}

/** `provider` is a slug, or "" for any. */
export function chatCall(model: string, provider: string, history: Message[], settings: ChatSettings): Call {
  const system: Message[] = settings.system ? [{ role: "system", content: settings.system }] : [];
  const body: Record<string, unknown> = {
    model, messages: [...system, ...history], stream: true, max_tokens: settings.max_tokens, ...settings.more,
  };
  if (settings.temperature !== null) body.temperature = settings.temperature;
  if (settings.stop.length) body.stop = settings.stop;
  if (provider) body.provider = { only: [provider] };
  return { path: "/v1/chat/completions", body };
}

export function embeddingsCall(model: string, input: string[]): Call {
  return { path: "/v1/embeddings", body: { model, input } };
}

export function rerankCall(model: string, query: string, documents: string[]): Call {
  return { path: "/v1/rerank", body: { model, query, documents } };
}

export function moderationCall(model: string, input: string): Call {
  return { path: "/v1/moderations", body: { model, input } };
}

export function imageCall(model: string, prompt: string, size: string): Call {
  return { path: "/v1/images/generations", body: { model, prompt, n: 1, size, response_format: "b64_json" } };
}

export function speechCall(model: string, input: string, voice: string): Call {
  return { path: "/v1/audio/speech", body: { model, input, voice, response_format: "wav" }, saved: "speech.wav" };
}

export function transcriptionCall(model: string, file: File, language: string): Call {
  return { path: "/v1/audio/transcriptions", body: { model, ...(language ? { language } : {}) }, file };
}

export function inferCall(model: string, inputs: SentTensor[]): Call {
  return { path: `/v2/models/${model}/infer`, body: { inputs } };
}
