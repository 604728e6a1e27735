// The playgrounds: a streaming chat, a form of numbers for a tensor model, two texts to compare.
import { CallFailed, call, events, type Route } from "../router-client";
import { showRoute } from "../route-view";

interface Message { role: "user" | "assistant"; content: string }

function find<T extends Element>(root: ParentNode, selector: string): T {
  const found = root.querySelector<T>(selector);
  if (!found) throw new Error(`the page lacks ${selector}`);
  return found;
}

function showError(root: HTMLElement, error: unknown): void {
  const box = find<HTMLElement>(root, "[data-error]");
  const said = error instanceof CallFailed ? error.message : (box.dataset.unreachable ?? String(error));
  box.textContent = said;
  box.hidden = false;
}

function busy(root: HTMLElement, on: boolean): void {
  root.setAttribute("aria-busy", String(on));
  find<HTMLButtonElement>(root, "[data-send]").disabled = on;
  const stop = root.querySelector<HTMLButtonElement>("[data-stop]");
  if (stop) stop.hidden = !on;
  if (!on) return;
  for (const said of root.querySelectorAll<HTMLElement>("[data-error], [data-stopped]")) said.hidden = true;
}

function chat(root: HTMLElement): void {
  const model = root.dataset.model ?? "";
  const log = find<HTMLElement>(root, "[data-log]");
  const form = find<HTMLFormElement>(root, "form");
  const input = find<HTMLTextAreaElement>(root, "textarea");
  const limit = find<HTMLInputElement>(root, "[name=max_tokens]");
  const report = find<HTMLElement>(root, "[data-report]");
  const history: Message[] = [];
  let running: AbortController | null = null;

  const bubble = (message: Message): HTMLElement => {
    log.querySelector("[data-hint]")?.remove();
    const node = document.createElement("div");
    node.className = message.role === "user" ? "bubble bubble-user" : "bubble bubble-busy";
    node.textContent = message.content;
    log.append(node);
    log.scrollTop = log.scrollHeight;
    return node;
  };

  const send = async (prompt: string): Promise<void> => {
    history.push({ role: "user", content: prompt });
    bubble({ role: "user", content: prompt });
    const answer: Message = { role: "assistant", content: "" };
    const node = bubble(answer);
    running = new AbortController();
    busy(root, true);
    try {
      const body = { model, messages: history, stream: true, max_tokens: Number(limit.value) };
      const response = await call("/v1/chat/completions", body, running.signal);
      for await (const event of events(response)) {
        if (event.error) throw new CallFailed(event.error.message);
        answer.content += event.choices?.[0]?.delta?.content ?? "";
        node.textContent = answer.content;
        log.scrollTop = log.scrollHeight;
        if (event.route) showRoute(report, event.route);
      }
    } catch (error) {
      if (running.signal.aborted) find<HTMLElement>(root, "[data-stopped]").hidden = false;
      else showError(root, error);
      if (!answer.content) { node.remove(); }
    } finally {
      node.classList.remove("bubble-busy");
      if (answer.content) history.push(answer);
      else history.pop();
      busy(root, false);
      running = null;
      input.focus();
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const prompt = input.value.trim();
    if (!prompt || running) return;
    input.value = "";
    void send(prompt);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  root.querySelector("[data-stop]")?.addEventListener("click", () => running?.abort());
}

async function once(root: HTMLElement, run: () => Promise<Route | undefined>): Promise<void> {
  busy(root, true);
  try {
    const route = await run();
    if (route) showRoute(find<HTMLElement>(root, "[data-report]"), route);
  } catch (error) {
    showError(root, error);
  } finally {
    busy(root, false);
  }
}

interface TensorAnswer { outputs: { name: string; data: number[] }[]; route?: Route }

function tensor(root: HTMLElement): void {
  const model = root.dataset.model ?? "";
  const result = find<HTMLElement>(root, "[data-result]");
  find<HTMLFormElement>(root, "form").addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = [...root.querySelectorAll<HTMLInputElement>("[data-feature]")];
    const data = fields.map((field) => Number(field.value));
    const inputs = [{ name: root.dataset.input, datatype: "FP32", shape: [1, data.length], data }];
    void once(root, async () => {
      const response = await call(`/v2/models/${model}/infer`, { inputs });
      const answer = (await response.json()) as TensorAnswer;
      const value = answer.outputs[0]?.data[0] ?? 0;
      result.textContent = `${(100 * value).toFixed(2)} %`;
      return answer.route;
    });
  });
}

interface EmbeddingAnswer { data: { embedding: number[] }[]; route?: Route }

function cosine(a: number[], b: number[]): number {
  let dot = 0, aa = 0, bb = 0;
  a.forEach((x, i) => { const y = b[i] ?? 0; dot += x * y; aa += x * x; bb += y * y; });
  return dot / Math.max(Math.sqrt(aa * bb), 1e-12);
}

function embeddings(root: HTMLElement): void {
  const model = root.dataset.model ?? "";
  const result = find<HTMLElement>(root, "[data-result]");
  find<HTMLFormElement>(root, "form").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = [...root.querySelectorAll<HTMLTextAreaElement>("textarea")].map((t) => t.value);
    void once(root, async () => {
      const answer = (await (await call("/v1/embeddings", { model, input })).json()) as EmbeddingAnswer;
      const [first, second] = answer.data;
      if (first && second) result.textContent = cosine(first.embedding, second.embedding).toFixed(3);
      return answer.route;
    });
  });
}

const KINDS: Record<string, (root: HTMLElement) => void> = { chat, tensor, embeddings };
for (const root of document.querySelectorAll<HTMLElement>("[data-playground]")) {
  KINDS[root.dataset.playground ?? ""]?.(root);
}
