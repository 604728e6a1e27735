// A chat with one model, or the same prompt to several side by side.
import { complain, element, find, sendOnCtrlEnter, type Settings } from "../dom";
import { codePanel } from "../call/code-panel";
import { control, labelled, readAll, type Control } from "../inputs/fields";
import { dataUrl, ImageRefused } from "../inputs/image";
import { makeLane, type Lane, type LaneState } from "./lane";
import { userMessage, type Call, type ChatSettings } from "../call/request";
import { keep, restore } from "../saved";
import { fieldsOf, takesImages } from "../inputs/schema";
import { say } from "../words";

const LANES_MAX = 3;
const IMAGES_MAX = 4;
const VERSION = 1;
const NOTHING = ".";
/** Properties of a chat's schema that have a place of their own here, or that the page decides. */
const OWN = new Set(["messages", "model", "max_tokens", "max_completion_tokens", "temperature", "stop", "stream"]);

interface Saved {
  prompt: string; system: string; temperature: string; max_tokens: string; stop: string;
  more: Record<string, string>;
  lanes: LaneState[];
}

export function chat(root: HTMLElement, settings: Settings): void {
  const { words } = settings;
  const form = find<HTMLFormElement>(root, "form");
  const input = find<HTMLTextAreaElement>(root, "#prompt");
  const named = (name: string): HTMLInputElement => find<HTMLInputElement>(form, `[name=${name}]`);
  const [system, temperature, limit, stop] = ["system", "temperature", "max_tokens", "stop"].map(named) as
    [HTMLInputElement, HTMLInputElement, HTMLInputElement, HTMLInputElement];
  const files = find<HTMLInputElement>(form, "#images");
  const previews = find<HTMLElement>(form, "[data-images]");
  const imageProblem = find<HTMLElement>(form, "[data-image-problem]");
  const sendButton = find<HTMLButtonElement>(form, "[data-send]");
  const addButton = find<HTMLButtonElement>(form, "[data-add]");
  const lanesBox = find<HTMLElement>(root, "[data-lanes]");
  const reportsBox = find<HTMLElement>(root, "[data-reports]");
  const saved = restore<Saved>(settings.model, VERSION);
  const schema = settings.models[0]?.schema ?? {};
  const more: Control[] = fieldsOf(schema, OWN).map((field) => control({ ...field, required: false }, saved?.more[field.name] ?? field.initial));
  const lanes: Lane[] = [];
  let images: string[] = [];
  /** While pictures that were chosen are read; false where one is refused. */
  let reading: Promise<boolean> | null = null;
  let busy = false;

  find(form, "[data-more]").append(...more.map(labelled));
  find<HTMLElement>(form, "[data-images-field]").hidden = !takesImages(schema);
  if (saved) {
    input.value = saved.prompt;
    system.value = saved.system;
    temperature.value = saved.temperature;
    limit.value = saved.max_tokens;
    stop.value = saved.stop;
  }

  const changed = (): void => {
    const state: Saved = {
      prompt: input.value, system: system.value, temperature: temperature.value,
      max_tokens: limit.value, stop: stop.value,
      more: Object.fromEntries(more.map((one) => [one.field.name, one.input.value])),
      lanes: lanes.map((lane) => lane.state),
    };
    keep(settings.model, VERSION, state);
    redrawCode();
  };
  /** What would be sent, as far as its cost depends on it; null while the length is no number.
   * Before anything is written it is the shortest prompt. */
  const drafted = (lane: Lane): Call | null => {
    const max_tokens = Math.floor(limit.valueAsNumber);
    if (!(max_tokens > 0)) return null;
    const draft: ChatSettings = { system: system.value.trim(), temperature: null, max_tokens, stop: [], more: {} };
    return lane.callOf(userMessage(input.value.trim() || NOTHING, images), draft);
  };
  const requote = (): void => lanes.forEach((lane) => { lane.requote(); });
  const arrange = (): void => {
    root.dataset.count = String(lanes.length);
    root.classList.toggle("columns-aside", lanes.length === 1);
    lanesBox.dataset.count = reportsBox.dataset.count = String(lanes.length);
    addButton.hidden = lanes.length >= LANES_MAX;
  };
  const add = (state: LaneState): void => {
    const lane = makeLane({ settings, drafted, changed, removed }, state, lanes.length === 0);
    lanes.push(lane);
    lanesBox.append(lane.node);
    reportsBox.append(lane.report);
    arrange();
  };
  const removed = (lane: Lane): void => {
    lanes.splice(lanes.indexOf(lane), 1);
    lane.node.remove();
    lane.report.remove();
    arrange();
    changed();
    addButton.focus();
  };

  /** Null if a setting is wrong, which is said next to it; without a word for who is still typing. */
  const read = (isQuiet = false): ChatSettings | null => {
    const values = readAll(more, words, isQuiet);
    const isValid = isQuiet ? [system, temperature, limit, stop].every((one) => one.validity.valid) : form.reportValidity();
    if (!values || !isValid) return null;
    return {
      system: system.value.trim(),
      temperature: temperature.value === "" ? null : temperature.valueAsNumber,
      max_tokens: limit.valueAsNumber,
      stop: stop.value.split(",").map((word) => word.trim()).filter(Boolean).slice(0, 4),
      more: values,
    };
  };
  const redrawCode = codePanel(root, settings, () => {
    const chatSettings = read(true);
    const first = lanes[0];
    const prompt = input.value.trim();
    return chatSettings && first ? first.callOf(prompt ? userMessage(prompt, images) : null, chatSettings) : null;
  });
  const setImages = (next: string[]): void => {
    images = next;
    previews.replaceChildren(...images.map((url, i) => {
      const button = document.createElement("button");
      const image = document.createElement("img");
      button.type = "button";
      button.className = "thumbnail";
      button.setAttribute("aria-label", say(words, "removeImage", { n: i + 1 }));
      image.src = url;
      image.alt = "";
      button.append(image, element("span", "", "×"));
      button.addEventListener("click", () => { setImages(images.filter((one) => one !== url)); files.focus(); });
      return button;
    }));
    requote();
    redrawCode();
  };
  /** Add pictures as far as there is room; what is refused is said. */
  const addImages = async (chosen: File[]): Promise<boolean> => {
    const room = IMAGES_MAX - images.length;
    const read = await Promise.allSettled(chosen.slice(0, room).map(dataUrl));
    const failed = read.find((one) => one.status === "rejected");
    let refused = chosen.length > room ? new ImageRefused("imagesMax", { max: IMAGES_MAX }) : null;
    if (failed) refused = failed.reason instanceof ImageRefused ? failed.reason : new ImageRefused("imageKind");
    complain(files, imageProblem, refused ? say(words, refused.problem, refused.values) : "");
    setImages([...images, ...read.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []))]);
    return refused === null;
  };

  const idle = (): void => {
    busy = sendButton.disabled = false;
    root.setAttribute("aria-busy", "false");
  };
  const send = async (): Promise<void> => {
    const chatSettings = read();
    if (!input.value.trim() || busy || !chatSettings) return;
    busy = sendButton.disabled = true;
    root.setAttribute("aria-busy", "true");
    if (reading && !(await reading)) return idle(); // A picture belongs to the message before which it was chosen.
    const prompt = input.value.trim();
    const sent = images;
    const message = userMessage(prompt, sent);
    input.value = "";
    setImages([]);
    const answered = await Promise.all(lanes.map((lane) => lane.send(message, chatSettings)));
    idle();
    if (!answered.some(Boolean)) { // What nobody answered need not be typed or chosen again.
      input.value ||= prompt;
      if (!images.length) setImages(sent);
    }
    changed();
    if (document.activeElement === document.body || form.contains(document.activeElement)) input.focus();
  };

  form.addEventListener("submit", (event) => { event.preventDefault(); void send(); });
  form.addEventListener("input", () => { requote(); changed(); });
  sendOnCtrlEnter(form);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  files.addEventListener("change", () => {
    const chosen = [...(files.files ?? [])];
    files.value = "";
    const mine = (reading ?? Promise.resolve(true)).then(() => addImages(chosen));
    reading = mine;
    void mine.then(() => { if (reading === mine) reading = null; });
  });
  addButton.addEventListener("click", () => {
    const taken = new Set(lanes.map((lane) => lane.state.model));
    const rival = settings.models.find((one) => !taken.has(one.name)) ?? settings.models[0];
    add({ model: rival?.name ?? settings.model, provider: "", history: [], route: null });
    changed();
    lanes.at(-1)?.node.querySelector("select")?.focus();
  });
  find(form, "[data-clear]").addEventListener("click", () => {
    lanes.forEach((lane) => { lane.clear(); });
    changed();
    requote();
    input.focus();
  });

  const known = new Set(settings.models.map((one) => one.name));
  const kept = (saved?.lanes ?? []).filter((lane) => known.has(lane.model)).slice(0, LANES_MAX);
  const first: LaneState = { model: settings.model, provider: "", history: [], route: null };
  for (const state of kept[0]?.model === settings.model ? kept : [first]) add(state);
}
