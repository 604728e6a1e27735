// A call with one answer: busy, cancel, report and error around it.
import { call, type Route } from "../../router-client";
import { find, showFailure, type Settings } from "../dom";
import { showRoute } from "../report/report";
import { readExact } from "./exact";
import type { Call } from "./request";

export interface OneAnswer<Answer> { send: (request: Call, show: (answer: Answer) => void) => Promise<void> }

/** The page's Send, Stop, error and report, for calls that do not stream. */
export function oneAnswer<Answer extends { route?: Route }>(
  root: HTMLElement,
  settings: Settings,
  read: (response: Response) => Promise<Answer> = async (response) => readExact<Answer>(await response.text()),
): OneAnswer<Answer> {
  const sendButton = find<HTMLButtonElement>(root, "[data-send]");
  const stopButton = find<HTMLButtonElement>(root, "[data-stop]");
  const failure = find<HTMLElement>(root, "[data-error]");
  const stopped = find<HTMLElement>(root, "[data-stopped]");
  const told = [...root.querySelectorAll<HTMLElement>("[data-result], [data-report]")];
  const untold = told.map((part) => part.innerHTML);
  let running: AbortController | null = null;
  stopButton.addEventListener("click", () => running?.abort());
  return {
    send: async (request, show) => {
      if (running) return;
      const controller = (running = new AbortController());
      failure.hidden = stopped.hidden = true;
      sendButton.disabled = true;
      stopButton.hidden = false;
      root.setAttribute("aria-busy", "true");
      try {
        const answer = await read(await call(request, controller.signal));
        show(answer);
        if (answer.route) showRoute(find(root, "[data-report]"), answer.route, settings);
      } catch (error) {
        // What is shown still answers the call before this one.
        told.forEach((part, i) => { part.innerHTML = untold[i] ?? ""; });
        if (controller.signal.aborted) stopped.hidden = false;
        else showFailure(failure, error, settings);
      }
      running = null;
      sendButton.disabled = false;
      stopButton.hidden = true;
      root.setAttribute("aria-busy", "false");
    },
  };
}
