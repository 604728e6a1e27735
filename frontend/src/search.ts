// Search from anywhere: Ctrl-K or the header's link opens the dialog, arrow keys go through what was found.
import htmx from "htmx.org";

const dialog = document.querySelector<HTMLDialogElement>("dialog.finder-dialog");

function fieldOf(form: Element): HTMLInputElement | null {
  return form.querySelector<HTMLInputElement>("input[type=search]");
}

async function open(): Promise<void> {
  if (!dialog || dialog.open) return;
  // Few views of a page lead to a search, so the form comes when it is first wanted.
  if (!dialog.firstElementChild) await htmx.ajax("get", dialog.dataset.from ?? "", { target: dialog });
  if (!dialog.firstElementChild) return;
  dialog.showModal();
  fieldOf(dialog)?.select();
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  // Only the backdrop is the dialog itself: its content covers the rest.
  if (target && target === dialog) dialog.close();
  if (!target?.closest("[data-search-open]") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  void open();
});

function move(form: Element, step: number): boolean {
  const stops = [...form.querySelectorAll<HTMLElement>("input[type=search], .hits a")];
  const at = stops.findIndex((stop) => stop === document.activeElement);
  const next = at < 0 ? undefined : stops[at + step];
  next?.focus();
  return next !== undefined;
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    void open();
  }
  const form = event.target instanceof Element ? event.target.closest("form.finder") : null;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (form && step && move(form, step)) event.preventDefault();
});

// Enter opens the first result, once the results are of the text in the field: who types on has older ones for a while.
document.addEventListener("htmx:afterSwap", (event) => {
  const found = event.target instanceof HTMLElement ? event.target : null;
  if (!found?.closest("form.finder")) return;
  const { detail } = event as CustomEvent<{ requestConfig: { parameters: Record<string, string> } }>;
  found.dataset.of = detail.requestConfig.parameters.q ?? "";
});

document.addEventListener("submit", (event) => {
  const form = event.target instanceof Element ? event.target.closest("form.finder") : null;
  const found = form?.querySelector<HTMLElement>(".found");
  const first = found?.querySelector<HTMLAnchorElement>(".hits a");
  if (!form || !first || found?.dataset.of !== fieldOf(form)?.value) return;
  event.preventDefault();
  first.click();
});
