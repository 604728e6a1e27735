// How the browser calls the router: with a short-lived session token, never with an API key.

/** Of what a generation's cost on an engine is made: the parts of service_ms, and what it adds to others. */
export interface Terms {
  ahead_ms: number;
  prefill_ms: number;
  decode_ms: number;
  others_ms: number;
  prompt_tokens: number;
  cached_tokens: number;
  answer_tokens: number;
}

export interface Candidate {
  worker_id: string;
  pool: string;
  verdict: string;
  wait_ms: number;
  service_ms: number;
  score: number;
  terms?: Terms;
  penalty_ms?: number;
}

export interface Attempt {
  worker_id: string;
  pool: string;
  outcome: string;
  queue_ms: number;
  upstream_ms: number;
}

export interface CostLine { item: string; quantity: number; unit_nano: number; per: number }

export interface Route {
  request_id: string;
  pool: string;
  worker: string;
  hardware: string;
  emulated: boolean;
  provider: string;
  attempts: Attempt[];
  queue_ms: number;
  hedge_ms: number;
  ttft_ms: number;
  total_ms: number;
  cost_nano_usd: number;
  cost_usd: string;
  cost_lines: CostLine[];
  usage: { prompt_tokens: number; cached_tokens: number; completion_tokens: number; rows: number; images: number };
  candidates: Candidate[];
}

/** What is sent: JSON of `body`, or with a `file` a form of both. */
export interface Sent { path: string; body: unknown; file?: File }

interface Session { token: string; router_url: string; expires_at: string }

/** An answer that was not a success, in the router's own words; status 0 when none came. */
export class CallFailed extends Error {
  constructor(
    message: string,
    readonly status: number = 0,
    readonly code: string = "",
    readonly retryAfterS: number | null = null,
  ) {
    super(message);
  }
}

let session: Session | null = null;

function csrfToken(): string {
  return document.querySelector<HTMLInputElement>("[name=csrfmiddlewaretoken]")?.value ?? "";
}

async function currentSession(): Promise<Session> {
  if (session && Date.parse(session.expires_at) - Date.now() > 30_000) return session;
  const response = await fetch("/api/v1/session-token", {
    method: "POST",
    headers: { "X-CSRFToken": csrfToken(), "Content-Type": "application/json" },
    body: JSON.stringify({ organisation: document.body.dataset.organisation }),
  });
  if (!response.ok) throw await failureOf(response);
  session = (await response.json()) as Session;
  return session;
}

interface Problem { error?: string | { message?: string; code?: string }; detail?: string }

/** What an answer says went wrong. */
async function failureOf(response: Response): Promise<CallFailed> {
  const body = await response.json().then((json) => json as Problem, (): Problem => ({}));
  const said = typeof body.error === "string" ? { message: body.error } : body.error;
  const retryAfter = Number(response.headers.get("retry-after") ?? NaN);
  const code = said && "code" in said ? (said.code ?? "") : "";
  const message = said?.message ?? body.detail ?? `HTTP ${response.status}`;
  return new CallFailed(message, response.status, code, Number.isFinite(retryAfter) ? retryAfter : null);
}

/** What a call would cost at most: what the router refuses by, and charges within. */
export interface Quote {
  prompt_tokens: number;
  most_completion_tokens: number;
  rows: number;
  images: number;
  most_nano_usd: number;
  providers: { provider: string; most_nano_usd: number }[];
}

/** Has the router say what a call would cost, and not run it. Throws CallFailed. */
export async function quote(sent: Sent): Promise<Quote> {
  const response = await post(sent, { "X-Route-Quote": "1" });
  return (await response.json()) as Quote;
}

/** POST to the router. Throws CallFailed with the router's own words. */
export async function call(sent: Sent, signal?: AbortSignal): Promise<Response> {
  return post(sent, { "X-Route-Explain": "1" }, signal);
}

function formOf(body: unknown, file: File): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(body as Record<string, unknown>)) form.append(name, String(value));
  form.append("file", file);
  return form;
}

async function post({ path, body, file }: Sent, headers: Record<string, string>, signal?: AbortSignal): Promise<Response> {
  const { token, router_url } = await currentSession();
  const response = await fetch(router_url + path, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${token}`,
      ...(file ? {} : { "Content-Type": "application/json" }), // A form has a type of its own.
      ...headers,
    },
    body: file ? formOf(body, file) : JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
  // A token that the router refuses is not offered to it again.
  if (response.status === 401) session = null;
  if (!response.ok) throw await failureOf(response);
  return response;
}

export interface StreamEvent {
  choices?: { delta?: { content?: string | null } }[];
  route?: Route;
  error?: { message: string; code?: string };
}

/** The JSON events of a server-sent stream, without the closing [DONE]. Throws if it ends, or breaks, before that. */
export async function* events(response: Response): AsyncGenerator<StreamEvent> {
  if (!response.body) throw new Error("the answer has no body");
  let buffer = "";
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the stream ended before [DONE]");
    buffer += decoder.decode(value, { stream: true });
    const parts = buffer.split("\n\n");
    buffer = parts.pop() ?? "";
    for (const part of parts) {
      // A part may also be a comment that keeps the connection open.
      if (!part.startsWith("data:")) continue;
      const data = part.slice("data:".length).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data) as StreamEvent;
    }
  }
}
