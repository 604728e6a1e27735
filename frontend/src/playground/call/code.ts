// The exact request as a program sends it: curl, Python, JavaScript. Pure.
import type { Call } from "./request";

export const LANGUAGES = ["curl", "Python", "JavaScript"] as const;
export type Language = (typeof LANGUAGES)[number];

/** Longer lists and texts are cut in what is shown; nobody reads a picture's bytes. */
export const ITEMS_SHOWN = 32;
export const CHARACTERS_SHOWN = 2_000;

/** A body whose long lists of numbers and data URLs are cut, and how many values were left out. */
export function elided(value: unknown): { value: unknown; left: number } {
  let left = 0;
  const cut = (inner: unknown): unknown => {
    if (typeof inner === "string" && inner.startsWith("data:") && inner.length > CHARACTERS_SHOWN) {
      left += 1;
      return `${inner.slice(0, 64)}…`;
    }
    if (Array.isArray(inner)) {
      const numbers = inner.length > ITEMS_SHOWN && inner.every((one) => typeof one === "number");
      if (numbers) left += inner.length - ITEMS_SHOWN;
      return (numbers ? inner.slice(0, ITEMS_SHOWN) : inner).map(cut);
    }
    if (inner && typeof inner === "object") {
      return Object.fromEntries(Object.entries(inner).map(([name, one]) => [name, cut(one)]));
    }
    return inner;
  };
  const shown = cut(value);
  return { value: shown, left };
}

/** JSON as a Python literal. */
export function pythonLiteral(value: unknown, indent = ""): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const deeper = `${indent}    `;
  if (Array.isArray(value)) {
    if (value.every((one) => one === null || typeof one !== "object")) return `[${value.map((one) => pythonLiteral(one)).join(", ")}]`;
    return `[\n${value.map((one) => `${deeper}${pythonLiteral(one, deeper)},\n`).join("")}${indent}]`;
  }
  const entries = Object.entries(value).map(([name, one]) => `${deeper}${JSON.stringify(name)}: ${pythonLiteral(one, deeper)},\n`);
  return `{\n${entries.join("")}${indent}}`;
}

/** In single quotes for a POSIX shell. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function json(value: unknown, indent: number): string {
  // Lists of numbers stay on one line.
  return JSON.stringify(value, null, indent).replace(/\[\s+((?:-?[\d.e+-]+,?\s*)+)\]/g, (_, inner: string) => `[${inner.replace(/\s+/g, " ").trim()}]`);
}

function curl(url: string, body: unknown): string {
  return [
    `curl ${url} \\`,
    '  -H "Authorization: Bearer $WAYPOST_API_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d ${shellQuoted(json(body, 2))}`,
  ].join("\n");
}

function python(url: string, body: unknown, streams: boolean): string {
  const read = streams
    ? 'for line in response.iter_lines():\n    if line.startswith(b"data: ") and line != b"data: [DONE]":\n        for choice in json.loads(line[6:])["choices"]:\n            print(choice["delta"].get("content") or "", end="", flush=True)'
    : "print(response.json())";
  return `${streams ? "import json\n" : ""}import os

import requests

response = requests.post(
    ${JSON.stringify(url)},
    headers={"Authorization": "Bearer " + os.environ["WAYPOST_API_KEY"]},
    json=${pythonLiteral(body, "    ")},${streams ? "\n    stream=True," : ""}
)
response.raise_for_status()
${read}`;
}

function javascript(url: string, body: unknown, streams: boolean): string {
  const read = streams
    ? 'for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {\n  process.stdout.write(chunk);\n}'
    : "console.log(await response.json());";
  return `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.WAYPOST_API_KEY}\`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${json(body, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());
${read}`;
}

/** The request in a language, and how many values were left out of it for being many. */
export function codeOf(language: Language, routerUrl: string, call: Call): { code: string; left: number } {
  const { value, left } = elided(call.body);
  const url = routerUrl + call.path;
  const streams = call.body.stream === true;
  switch (language) {
    case "curl": return { code: curl(url, value), left };
    case "Python": return { code: python(url, value, streams), left };
    default: return { code: javascript(url, value, streams), left };
  }
}
