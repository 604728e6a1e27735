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

/** What is sent, and what comes: a form where there is a file, bytes where they are saved. */
interface Shown { url: string; body: unknown; fields: [string, string][]; file?: string; saved?: string; streams: boolean }

function curl({ url, body, fields, file, saved }: Shown): string {
  const sent = file
    ? [...fields.map(([name, value]) => `-F ${shellQuoted(`${name}=${value}`)}`), `-F ${shellQuoted(`file=@${file}`)}`]
    : ['-H "Content-Type: application/json"', `-d ${shellQuoted(json(body, 2))}`];
  const lines = [`curl ${url}`, '-H "Authorization: Bearer $WAYPOST_API_KEY"', ...sent, ...(saved ? [`-o ${saved}`] : [])];
  return lines.join(" \\\n  ");
}

function python({ url, body, file, saved, streams }: Shown): string {
  const read = streams
    ? 'for line in response.iter_lines():\n    if line.startswith(b"data: ") and line != b"data: [DONE]":\n        for choice in json.loads(line[6:])["choices"]:\n            print(choice["delta"].get("content") or "", end="", flush=True)'
    : saved ? `with open(${JSON.stringify(saved)}, "wb") as file:\n    file.write(response.content)` : "print(response.json())";
  const sent = file
    ? `data=${pythonLiteral(body, "    ")},\n    files={"file": open(${JSON.stringify(file)}, "rb")},`
    : `json=${pythonLiteral(body, "    ")},`;
  return `${streams ? "import json\n" : ""}import os

import requests

response = requests.post(
    ${JSON.stringify(url)},
    headers={"Authorization": "Bearer " + os.environ["WAYPOST_API_KEY"]},
    ${sent}${streams ? "\n    stream=True," : ""}
)
response.raise_for_status()
${read}`;
}

function javascript({ url, body, fields, file, saved, streams }: Shown): string {
  const read = streams
    ? 'for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {\n  process.stdout.write(chunk);\n}'
    : saved ? `await writeFile(${JSON.stringify(saved)}, Buffer.from(await response.arrayBuffer()));` : "console.log(await response.json());";
  const imports = [...(file ? ["openAsBlob"] : []), ...(saved ? ["writeFile"] : [])];
  const head = imports.map((name) => `import { ${name} } from "node:fs${name === "writeFile" ? "/promises" : ""}";\n`).join("");
  const form = file
    ? `const form = new FormData();\n${fields.map(([name, value]) => `form.append(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join("")}form.append("file", await openAsBlob(${JSON.stringify(file)}), ${JSON.stringify(file)});\n`
    : "";
  const type = file ? "" : '\n    "Content-Type": "application/json",';
  const sent = file ? "form" : `JSON.stringify(${json(body, 2).replaceAll("\n", "\n  ")})`;
  return `${head}${head ? "\n" : ""}${form}const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.WAYPOST_API_KEY}\`,${type}
  },
  body: ${sent},
});
if (!response.ok) throw new Error(await response.text());
${read}`;
}

/** The request in a language, and how many values were left out of it for being many. */
export function codeOf(language: Language, routerUrl: string, call: Call): { code: string; left: number } {
  const { value, left } = elided(call.body);
  const fields = Object.entries(call.body).map(([name, one]): [string, string] => [name, String(one)]);
  const shown: Shown = { url: routerUrl + call.path, body: value, fields, streams: call.body.stream === true };
  if (call.file) shown.file = call.file.name;
  if (call.saved) shown.saved = call.saved;
  switch (language) {
    case "curl": return { code: curl(shown), left };
    case "Python": return { code: python(shown), left };
    default: return { code: javascript(shown), left };
  }
}
