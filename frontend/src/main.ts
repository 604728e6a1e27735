// What every page needs: styles, htmx, the theme switch, copy buttons, sliders and filters that submit themselves.
import "vite/modulepreload-polyfill";
import htmx from "htmx.org";
import "./drawer";
import "./filters";
import "./search";
import { slider } from "./slider";
import "./typeface.css";
import "./styles/index.css";

// The page's policy forbids evaluated code; nothing here needs it.
htmx.config.allowEval = false;
htmx.config.includeIndicatorStyles = false;
// Back asks the server: a kept copy of a page has neither what was ticked nor the state of its scripts.
htmx.config.historyCacheSize = 0;
htmx.config.refreshOnHistoryMiss = true;

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

function savedTheme(): Theme {
  const saved = localStorage.getItem("theme");
  return THEMES.find((theme) => theme === saved) ?? "auto";
}

function applyTheme(theme: Theme): void {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-theme-switch]")) {
    button.textContent = button.dataset[theme] ?? theme;
  }
}

async function copy(button: HTMLButtonElement): Promise<void> {
  const source = document.getElementById(button.dataset.copy ?? "");
  if (!source) return;
  if (!isSecureContext) { // Browsers let no page write the clipboard then: what is selected, a key copies.
    if (source instanceof HTMLInputElement) source.select();
    else getSelection()?.selectAllChildren(source);
    return;
  }
  const text = source instanceof HTMLInputElement ? source.value : (source.textContent ?? "");
  await navigator.clipboard.writeText(text.trim());
  // A second press finds the word of the first one there.
  const label = (button.dataset.label ??= button.textContent ?? "");
  button.textContent = button.dataset.copied ?? "✓";
  setTimeout(() => { button.textContent = label; }, 1500);
}

applyTheme(savedTheme());

// On a phone the entry of the page may lie beyond the edge of its bar.
document.querySelectorAll<HTMLElement>(".subnav [aria-current], .tabs [aria-current]").forEach((entry) => {
  const bar = entry.parentElement;
  if (bar) bar.scrollLeft = entry.offsetLeft - (bar.clientWidth - entry.clientWidth) / 2;
});

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const themeSwitch = target?.closest("[data-theme-switch]");
  if (themeSwitch) {
    const next = THEMES[(THEMES.indexOf(savedTheme()) + 1) % THEMES.length] ?? "auto";
    localStorage.setItem("theme", next);
    applyTheme(next);
  }
  const toggle = target?.closest<HTMLButtonElement>("[data-toggles]");
  if (toggle) {
    const open = document.getElementById(toggle.dataset.toggles ?? "")?.classList.toggle("open") ?? false;
    toggle.setAttribute("aria-expanded", String(open));
  }
  const copyButton = target?.closest<HTMLButtonElement>("[data-copy]");
  if (copyButton) void copy(copyButton);
});

// Nobody can be led to a field that is folded away.
document.addEventListener("invalid", ({ target }) => {
  const folds = "details:not([open])";
  for (let fold = (target as Element).closest<HTMLDetailsElement>(folds); fold; fold = fold.closest<HTMLDetailsElement>(folds)) fold.open = true;
}, true);

// Where a part of the page is answered by another page, such as that to sign in, the whole page asks.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { detail } = event as CustomEvent<{ shouldSwap: boolean; xhr: XMLHttpRequest; pathInfo: { finalRequestPath: string } }>;
  const asked = new URL(detail.pathInfo.finalRequestPath, location.href);
  const answered = new URL(detail.xhr.responseURL || asked, location.href);
  if (answered.pathname === asked.pathname) return;
  detail.shouldSwap = false;
  location.reload();
});

document.querySelectorAll<HTMLInputElement>("[data-slider-for]").forEach(slider);
