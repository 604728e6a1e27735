// One model's side of a chat: its conversation, its stream, its cancel, its figures.
import { CallFailed, call, events, type Route } from "../../router-client";
import { BROKEN_STREAM } from "../report/advice";
import { element, find, showFailure, stamped, type Choice, type Settings } from "../dom";
import { quoteLine } from "../call/quote-line";
import { showRoute } from "../report/report";
import { chatCall, imagesOf, textOf, type Call, type ChatSettings, type Message } from "../call/request";
import { dollars, milliseconds, say, type Words } from "../words";

export interface LaneState { model: string; provider: string; history: Message[]; route: Route | null }

export interface Lane {
  node: HTMLElement;
  report: HTMLElement;
  state: LaneState;
  choice: () => Choice;
  /** Whether the message is done with: false if nobody answered it, and it may be sent again. */
  send: (message: Message, settings: ChatSettings) => Promise<boolean>;
  stop: () => void;
  clear: () => void;
  requote: () => void;
  callOf: (message: Message | null, settings: ChatSettings) => Call;
}

interface Owner {
  settings: Settings;
  /** Tokens of what is typed, with the system prompt, images, and the bound of the answer. */
  drafted: (lane: Lane) => Call | null;
  changed: () => void;
  removed: (lane: Lane) => void;
}

let made = 0;

/** Loaded for the first answer: the page is there sooner without it. */
const formatter = () => import("./markdown");

function bubble(log: HTMLElement, message: Message, words: Words): HTMLElement {
  log.querySelector("[data-hint]")?.remove();
  const node = element("div", message.role === "user" ? "bubble bubble-user" : "bubble");
  const text = node.textContent = textOf(message);
  if (text && message.role === "assistant") {
    void formatter().then(({ showMarkdown, offerCopies }) => {
      showMarkdown(node, text);
      offerCopies(node, words);
    });
  }
  for (const url of imagesOf(message)) {
    const image = document.createElement("img");
    image.src = url;
    image.alt = "";
    node.append(image);
  }
  log.append(node);
  log.scrollTop = log.scrollHeight;
  return node;
}

export function makeLane(owner: Owner, state: LaneState, isFirst: boolean): Lane {
  const { settings } = owner;
  const { words } = settings;
  const node = stamped("lane");
  const report = stamped("lane-report");
  const log = find<HTMLElement>(node, "[data-log]");
  const models = find<HTMLSelectElement>(node, "[data-lane-model]");
  const providers = find<HTMLSelectElement>(node, "[data-lane-provider]");
  const remove = find<HTMLButtonElement>(node, "[data-remove]");
  const stopButton = find<HTMLButtonElement>(node, "[data-stop]");
  const failure = find<HTMLElement>(node, "[data-error]");
  const stopped = find<HTMLElement>(node, "[data-stopped]");
  const announcer = find<HTMLElement>(node, "[data-announcer]");
  const figures = find<HTMLElement>(node, "[data-figures]");
  const shown = find<HTMLElement>(report, "[data-report]");
  const hint = log.innerHTML;
  const untold = shown.innerHTML;
  let running: AbortController | null = null;
  const n = ++made;
  for (const select of [models, providers]) {
    select.id = `${select.name}-${n}`;
    select.previousElementSibling?.setAttribute("for", select.id);
  }

  const choice = (): Choice => {
    const found = settings.models.find((one) => one.name === state.model) ?? settings.models[0];
    if (!found) throw new Error("the page lacks models");
    return found;
  };
  const name = (one: Choice): string => one.display_name;
  const fillProviders = (): void => {
    providers.replaceChildren(
      new Option(say(words, "anyProvider"), ""),
      ...choice().providers.map((one) => new Option(one.name, one.slug)),
    );
    providers.value = state.provider;
    if (providers.selectedIndex < 0) providers.value = state.provider = "";
    find(report, "[data-report-model]").textContent = name(choice());
    log.setAttribute("aria-label", name(choice()));
  };
  models.append(...settings.models.map((one) => new Option(name(one), one.name)));
  models.value = choice().name;
  find<HTMLElement>(node, "[data-lane-models]").hidden = isFirst;
  remove.hidden = isFirst;
  fillProviders();

  const requote = quoteLine(find(node, "[data-quote]"), settings, () => ({
    model: state.model, call: owner.drafted(lane),
  }));

  const told = (route: Route): void => {
    state.route = route;
    showRoute(shown, route, settings);
    const { usage } = route;
    figures.textContent = say(words, "figures", {
      ttft: milliseconds(route.ttft_ms), total: milliseconds(route.total_ms), tokens: usage.completion_tokens, cost: dollars(route.cost_nano_usd),
    });
  };
  const clear = (): void => {
    running?.abort();
    state.history = [];
    state.route = null;
    log.innerHTML = hint;
    shown.innerHTML = untold;
    figures.textContent = "";
    failure.hidden = stopped.hidden = true;
  };
  const callOf = (message: Message | null, chat: ChatSettings): Call => {
    const bound = choice().completion_tokens_max || chat.max_tokens;
    const bounded = { ...chat, max_tokens: Math.min(chat.max_tokens, bound) };
    const history = message ? [...state.history, message] : state.history;
    return chatCall(state.model, state.provider, history, bounded);
  };

  const stream = async (request: Call, node: HTMLElement, signal: AbortSignal): Promise<string> => {
    const [response, { showMarkdown, offerCopies }] = await Promise.all([call(request, signal), formatter()]);
    let answer = "", frame = 0;
    const draw = (): void => {
      // Whoever has scrolled back to read is left there.
      const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
      frame = 0;
      showMarkdown(node, answer);
      if (isAtEnd) log.scrollTop = log.scrollHeight;
    };
    try {
      for await (const event of events(response)) {
        if (event.error) throw new CallFailed(event.error.message, 502, answer ? BROKEN_STREAM : "");
        const more = event.choices?.[0]?.delta?.content ?? "";
        if (more) {
          answer += more;
          node.dataset.answer = answer;
          frame ||= requestAnimationFrame(draw); // Once a frame, however many tokens come in it.
        }
        if (event.route) told(event.route);
      }
    } catch (error) {
      if (signal.aborted || error instanceof CallFailed) throw error;
      throw new CallFailed("", 502, answer ? BROKEN_STREAM : "");
    } finally {
      cancelAnimationFrame(frame);
      if (answer) {
        draw();
        offerCopies(node, words);
      }
    }
    return answer;
  };

  const send = async (message: Message, chat: ChatSettings): Promise<boolean> => {
    const request = callOf(message, chat);
    const { history } = state;
    const isCurrent = (): boolean => state.history === history;
    failure.hidden = stopped.hidden = true;
    const asked = bubble(log, message, words);
    const reply = bubble(log, { role: "assistant", content: "" }, words);
    reply.classList.add("bubble-busy");
    announcer.textContent = say(words, "answering");
    const controller = (running = new AbortController());
    stopButton.hidden = false;
    try {
      await stream(request, reply, controller.signal);
      if (!reply.dataset.answer) reply.textContent = say(words, "noText");
    } catch (error) {
      if (controller.signal.aborted) stopped.hidden = !isCurrent();
      else showFailure(failure, error, settings);
    }
    running = null;
    stopButton.hidden = true;
    reply.classList.remove("bubble-busy");
    if (!isCurrent()) { // Another conversation has begun: this answer belongs to none.
      announcer.textContent = "";
      return true;
    }
    const answer = reply.dataset.answer ?? "";
    // Said once, whole: a screen reader is not made to read each token.
    announcer.textContent = answer ? `${name(choice())}: ${answer}` : "";
    if (answer) state.history.push(message, { role: "assistant", content: answer });
    else if (!failure.hidden || !stopped.hidden) { asked.remove(); reply.remove(); }
    owner.changed();
    requote();
    return answer !== "";
  };

  const lane: Lane = {
    node, report, state, choice, send, clear, requote, callOf,
    stop: () => running?.abort(),
  };
  models.addEventListener("change", () => {
    state.model = models.value;
    state.provider = "";
    fillProviders();
    clear();
    requote();
    owner.changed();
  });
  providers.addEventListener("change", () => {
    state.provider = providers.value;
    requote();
    owner.changed();
  });
  stopButton.addEventListener("click", () => running?.abort());
  remove.addEventListener("click", () => { running?.abort(); owner.removed(lane); });
  for (const message of state.history) bubble(log, message, words);
  if (state.route) told(state.route);
  requote();
  return lane;
}
