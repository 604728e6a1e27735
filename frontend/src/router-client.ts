// How the browser calls the router: with a short-lived session token, never with an API key.

export interface Candidate {
  worker_id: string;
  pool: string;
  verdict: string;
  wait_ms: number;
  service_ms: number;
  score: number;
}

export interface Route {
  request_id: string;
  pool: string;
  worker: string;
  hardware: string;
  emulated: boolean;
  provider: string;
  attempts: unknown[];
  queue_ms: number;
  ttft_ms: number;
  total_ms: number;
  cost_nano_usd: number;
  cost_usd: string;
  usage: { prompt_tokens: number; cached_tokens: number; completion_tokens: number; rows: number };
  candidates: Candidate[];
}

interface Session { token: string; router_url: string; expires_at: string }

/** An answer that was not a success; the message says what to do next. */
export class CallFailed extends Error {}

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
  if (!response.ok) throw new CallFailed((await problemText(response)) || "Sign in again.");
  session = (await response.json()) as Session;
  return session;
}

async function problemText(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: string | { message?: string }; detail?: string };
    if (typeof body.error === "string") return body.error;
    return body.error?.message ?? body.detail ?? "";
  } catch {
    return "";
  }
}

/** POST to the router. Throws CallFailed with the router's own words. */
export async function call(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const { token, router_url } = await currentSession();
  const response = await fetch(router_url + path, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${token}`,
      "Content-Type": "application/json",
      "X-Route-Explain": "1",
    },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
  // A token that the router refuses is not offered to it again.
  if (response.status === 401) session = null;
  if (!response.ok) throw new CallFailed((await problemText(response)) || `HTTP ${response.status}`);
  return response;
}

export interface StreamEvent {
  choices?: { delta?: { content?: string | null } }[];
  route?: Route;
  error?: { message: string };
}

/** The JSON events of a server-sent stream, without the closing [DONE]. */
export async function* events(response: Response): AsyncGenerator<StreamEvent> {
  if (!response.body) return;
  let buffer = "";
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += decoder.decode(value, { stream: true });
    const parts = buffer.split("\n\n");
    buffer = parts.pop() ?? "";
    for (const part of parts) {
      // A part may also be a comment that keeps the connection open.
      if (!part.startsWith("data:")) continue;
      const data = part.slice("data:".length).trim();
      if (data !== "[DONE]") yield JSON.parse(data) as StreamEvent;
    }
  }
}
