// The playgrounds: chats side by side, a form out of a model's tensors, two texts to compare, and other tasks.
import { chat } from "../playground/chat/chat";
import type { Settings } from "../playground/dom";
import { embeddings } from "../playground/embeddings";
import { form } from "../playground/form";
import { task } from "../playground/tasks";

const KINDS: Record<Settings["kind"], (root: HTMLElement, settings: Settings) => void> = {
  chat,
  embeddings,
  form,
  image: task("image"),
  moderation: task("moderation"),
  rerank: task("rerank"),
  speech: task("speech"),
  transcription: task("transcription"),
};

const source = document.getElementById("playground-settings");
const root = document.querySelector<HTMLElement>("[data-playground]");
if (root && source) {
  const settings = JSON.parse(source.textContent ?? "") as Settings;
  KINDS[settings.kind](root, settings);
}
