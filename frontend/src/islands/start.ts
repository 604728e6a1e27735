// The page of the first call: sends the request of its second step from the browser.
import { call, CallFailed } from "../router-client";

interface Answer { choices: { message: { content: string } }[] }

const button = document.querySelector<HTMLButtonElement>("[data-send]");
const answer = document.querySelector<HTMLElement>("[data-answer]");
const failed = document.querySelector<HTMLElement>("[data-failed]");
const body: unknown = JSON.parse(document.getElementById(button?.dataset.send ?? "")?.textContent ?? "null");

async function send(): Promise<void> {
  const response = await call({ path: "/v1/chat/completions", body });
  const said = (await response.json()) as Answer;
  if (answer) {
    answer.textContent = said.choices[0]?.message.content.trim() ?? "";
    answer.hidden = false;
  }
}

function tell(error: unknown): void {
  if (!failed) return;
  const [text, link] = [failed.querySelector("span"), failed.querySelector("a")];
  if (text) text.textContent = error instanceof Error ? error.message : String(error);
  if (link) link.hidden = !(error instanceof CallFailed && error.status === 402);
  failed.hidden = false;
}

button?.addEventListener("click", () => {
  button.disabled = true;
  if (failed) failed.hidden = true;
  void send().catch(tell).finally(() => { button.disabled = false; });
});
