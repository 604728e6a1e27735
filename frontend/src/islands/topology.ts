// Fetches the page's live part every second, and replaces only what has changed.
// Asked rather than streamed: a stream would hold one of the few threads of the pages for as long
// as somebody looks. Hidden tabs ask nothing.
export {};

const EVERY_MS = 1000;
const SLOWEST_MS = 15_000;

const holder = document.querySelector<HTMLElement>("[data-live-url]");
const state = document.querySelector<HTMLElement>("[data-live-state]");
const said = document.querySelector<HTMLElement>("[data-live-said]");
const pause = document.querySelector<HTMLButtonElement>("[data-live-pause]");
let isPaused = false;
let failures = 0;

type Word = "live" | "paused" | "stale" | "signedOut";

function tell(word: Word): void {
  if (!state || !holder) return;
  const text = state.dataset[word] ?? word;
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle("live-stale", word === "stale" || word === "signedOut");
  holder.classList.toggle("is-stale", word === "stale" || word === "signedOut");
}

/** Whoever is at a link or scrolls a table sideways stays there. */
function put(old: Element, fresh: Element): void {
  const focused = old.contains(document.activeElement) ? document.activeElement?.id : "";
  const scrolled = [...old.querySelectorAll(".table-wrap")].map((one) => one.scrollLeft);
  old.replaceWith(fresh);
  fresh.querySelectorAll(".table-wrap").forEach((one, i) => { one.scrollLeft = scrolled[i] ?? 0; });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function parts(root: Element): Element[] {
  return [...root.querySelectorAll("[data-live-part]")].filter((one) => one.getAttribute("data-live-part") !== "all");
}

function take(html: string): void {
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("[data-live-part='all']");
  const old = holder?.querySelector("[data-live-part='all']");
  if (!fresh || !old || !holder) throw new Error("not the live part");
  const before = parts(old);
  const after = parts(fresh);
  const sentence = fresh.getAttribute("data-said") ?? "";
  if (before.length !== after.length) put(old, fresh);
  else before.forEach((one, i) => {
    const other = after[i];
    if (other && one.outerHTML !== other.outerHTML) put(one, other);
  });
  // Only what a listener has to know is spoken, and only when it changes.
  if (said && said.textContent !== sentence) said.textContent = sentence;
}

async function ask(): Promise<void> {
  if (!holder || isPaused || document.hidden) return;
  try {
    const response = await fetch(holder.dataset.liveUrl ?? "", { redirect: "manual", signal: AbortSignal.timeout(5000) });
    if (response.type === "opaqueredirect" || response.status === 403) {
      isPaused = true;
      tell("signedOut");
      return;
    }
    if (!response.ok) throw new Error(String(response.status));
    const html = await response.text();
    if (isPaused) return; // What was asked for before somebody paused is not put under their eyes.
    take(html);
    failures = 0;
    tell("live");
  } catch {
    if (isPaused) return;
    failures += 1;
    tell("stale");
  }
}

async function follow(): Promise<void> {
  for (;;) {
    await ask();
    const wait = Math.min(EVERY_MS * 2 ** Math.min(failures, 6), SLOWEST_MS);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = (isPaused ? pause.dataset.resume : pause.dataset.pause) ?? "";
    tell(isPaused ? "paused" : "live");
  });
}
if (holder) void follow();
