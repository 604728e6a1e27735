// Tasks that ask by a few fields and give one answer: rerank, moderation, images, speech, transcription.
import { codePanel } from "./call/code-panel";
import { readExact } from "./call/exact";
import { oneAnswer } from "./call/one-answer";
import { quoteLine } from "./call/quote-line";
import { imageCall, moderationCall, rerankCall, speechCall, transcriptionCall, type Call } from "./call/request";
import { element, figureTable, find, sendOnCtrlEnter, type Settings, type TaskKind } from "./dom";
import { showHeaders } from "./report/report";
import type { Route } from "../router-client";
import { keep, restore } from "./saved";
import { decimal, type Words } from "./words";

const VERSION = 1;

/** What the router answers, of any of these tasks. `sound` is the whole answer of speech. */
interface Answer {
  results?: { index?: number; relevance_score?: number; flagged?: boolean; category_scores?: Record<string, number> }[];
  data?: { b64_json?: string; url?: string }[];
  text?: string;
  sound?: Blob;
  route?: Route;
}

/** How a task is asked by its form (null while a field is missing), and what is shown of the answer to a call. */
interface Task {
  asked: (model: string, field: (name: string) => string, file: File | null) => Call | null;
  shown: (answer: Answer, call: Call, words: Words) => HTMLElement[];
}

/** The texts of a field, one a line. */
export function lines(text: string): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

function picture(source: string, alt: string): HTMLElement {
  const image = element("img", "answer-image");
  image.setAttribute("src", source);
  image.setAttribute("alt", alt);
  return image;
}

const TASKS: Record<TaskKind, Task> = {
  rerank: {
    asked: (model, field) => {
      const documents = lines(field("documents"));
      return field("query") && documents.length ? rerankCall(model, field("query"), documents) : null;
    },
    shown: ({ results = [] }, { body }, words) => {
      const documents = body.documents as string[];
      const rows = results.map(({ index = 0, relevance_score = 0 }) => ({ name: documents[index] ?? "", figures: [decimal(relevance_score, 4)] }));
      return [figureTable([words.document ?? "", words.score ?? ""], rows)];
    },
  },
  moderation: {
    asked: (model, field) => (field("input") ? moderationCall(model, field("input")) : null),
    shown: ({ results = [] }, _, words) => results.flatMap(({ flagged = false, category_scores = {} }) => {
      const scores = Object.entries(category_scores).sort(([, one], [, other]) => other - one);
      return [
        element("p", "figure", (flagged ? words.flagged : words.unflagged) ?? ""),
        figureTable([words.category ?? "", words.score ?? ""], scores.map(([name, score]) => ({ name, figures: [decimal(score, 4)] }))),
      ];
    }),
  },
  image: {
    asked: (model, field) => (field("prompt") ? imageCall(model, field("prompt"), field("size")) : null),
    shown: ({ data = [] }, { body }) => data.map(({ b64_json, url }) => picture(b64_json ? `data:image/png;base64,${b64_json}` : url ?? "", String(body.prompt))),
  },
  speech: {
    asked: (model, field) => (field("input") && field("voice") ? speechCall(model, field("input"), field("voice")) : null),
    shown: ({ sound }) => {
      const player = element("audio", "answer-sound");
      player.setAttribute("controls", "");
      if (sound) player.setAttribute("src", URL.createObjectURL(sound));
      return [player];
    },
  },
  transcription: {
    asked: (model, field, file) => (file ? transcriptionCall(model, file, field("language")) : null),
    shown: ({ text = "" }, _, words) => [element("p", "answer-text", text || words.noText)],
  },
};

export function task(kind: TaskKind): (root: HTMLElement, settings: Settings) => void {
  const { asked, shown } = TASKS[kind];
  return (root, settings) => {
    const form = find<HTMLFormElement>(root, "form");
    const result = find<HTMLElement>(root, "[data-result]");
    const controls = [...form.querySelectorAll<HTMLInputElement>("input, textarea, select")].filter(({ type }) => type !== "hidden");
    const texts = controls.filter(({ type }) => type !== "file");
    const chooser = controls.find(({ type }) => type === "file");
    const field = (name: string): string => texts.find((one) => one.name === name)?.value.trim() ?? "";
    const take = (): Call | null => asked(settings.model, field, chooser?.files?.[0] ?? null);

    const saved = restore<Record<string, string>>(settings.model, VERSION) ?? {};
    for (const one of texts) one.value = saved[one.name] ?? one.value;
    const requote = quoteLine(find(root, "[data-quote]"), settings, () => ({ model: settings.model, call: take() }));
    const redraw = codePanel(root, settings, take);
    const { send } = oneAnswer<Answer>(root, settings, async (response) => {
      if (kind !== "speech") return readExact<Answer>(await response.text());
      showHeaders(find(root, "[data-report]"), response.headers);
      return { sound: await response.blob() };
    });
    sendOnCtrlEnter(form);
    form.addEventListener("input", () => {
      requote();
      redraw();
      keep(settings.model, VERSION, Object.fromEntries(texts.map((one) => [one.name, one.value])));
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const request = take();
      if (request) void send(request, (answer) => { result.replaceChildren(...shown(answer, request, settings.words)); });
    });
    requote();
  };
}
