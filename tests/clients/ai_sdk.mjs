// Vercel's AI SDK, run beside the repository: see tests.clients.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, apiKey, name] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey });
const model = openai(name);
const tools = {
  weather: tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sun in ${city}`,
  }),
};

const plain = await generateText({ model, instructions: "Be brief.", prompt: "hi", maxRetries: 0 });
assert.ok(plain.text.includes("sunny"));
console.log("generateText");

const able = await generateText({
  model, tools, prompt: "The weather?", stopWhen: stepCountIs(3), maxRetries: 0,
});
assert.equal(able.steps.length, 2);
assert.ok(able.text.includes("sunny"));
console.log("tools (stored items by reference)");

const stateless = await generateText({
  model, tools, prompt: "The weather?", stopWhen: stepCountIs(3), maxRetries: 0,
  providerOptions: { openai: { store: false } },
});
assert.ok(stateless.text.includes("sunny"));
console.log("tools, store: false");

const streamed = streamText({
  model, tools, prompt: "The weather?", stopWhen: stepCountIs(3), maxRetries: 0,
});
let text = "";
for await (const part of streamed.textStream) text += part;
assert.ok(text.includes("sunny"));
console.log("streamText with tools");

const typed = await generateText({
  model, prompt: "hi", maxRetries: 0,
  output: Output.object({ schema: z.object({ city: z.string(), degrees: z.number() }) }),
});
assert.equal(typed.output.city, "Rome");
console.log("structured output");
