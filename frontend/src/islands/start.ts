// The page of the first call: sends the request of its second step from the browser.
import htmx from "htmx.org";
import { call, CallFailed } from "../router-client";

interface Answer { choices: { message: { content: string | null } }[] }

const button = document.querySelector<HTMLButtonElement>("[data-send]");
const answer = document.querySelector<HTMLElement>("[data-answer]");
const failed = document.querySelector<HTMLElement>("[data-failed]");
const body: unknown = JSON.parse(document.getElementById(button?.dataset.send ?? "")?.textContent ?? "null");

async function send(): Promise<void> {
  const response = await call({ path: "/v1/chat/completions", body });
  const said = (await response.json()) as Answer;
  if (answer) {
    // A model that thinks may use up its tokens before it says a word.
    answer.textContent = said.choices[0]?.message.content?.trim() || (answer.dataset.empty ?? "");
    answer.hidden = false;
  }
  await look(response.headers.get("x-request-id"));
}

/** Have the third step show this call, unless it waits for the next one anyway. */
async function look(sent: string | null): Promise<void> {
  const seen = document.getElementById("first-call");
  if (!sent || !seen || seen.hasAttribute("hx-get")) return;
  await htmx.ajax("get", `${seen.dataset.from}?look=1&sent=${sent}`, { target: seen, swap: "outerHTML" });
}

function tell(error: unknown): void {
  if (!failed) return;
  const [text, link] = [failed.querySelector("span"), failed.querySelector("a")];
  if (text) text.textContent = error instanceof Error ? error.message : String(error);
  if (link) link.hidden = !(error instanceof CallFailed && error.status === 402);
  failed.hidden = false;
  if (answer) answer.hidden = true; // It is that of the call before.
}

button?.addEventListener("click", () => {
  button.disabled = true;
  if (failed) failed.hidden = true;
  void send().catch(tell).finally(() => { button.disabled = false; });
});
