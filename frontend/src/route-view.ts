// Draws what a call took and cost, and why it went where it went.
import type { Candidate, Route } from "./router-client";

type Labels = DOMStringMap;

function element(tag: string, className: string, text = ""): HTMLElement {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

function milliseconds(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function fact(name: string, value: string): HTMLElement {
  const group = element("div", "");
  group.append(element("dt", "", name), element("dd", "", value));
  return group;
}

function facts(route: Route, labels: Labels): HTMLElement {
  const list = element("dl", "facts");
  const { usage } = route;
  list.append(
    fact(labels.labelServed ?? "Served by", `${route.worker} · ${route.hardware}`),
    fact(labels.labelCost ?? "Cost", `$${route.cost_usd}`),
  );
  if (usage.prompt_tokens + usage.cached_tokens + usage.completion_tokens > 0) {
    const tokens = `${usage.prompt_tokens + usage.cached_tokens} → ${usage.completion_tokens}`;
    list.append(fact(labels.labelTokens ?? "Tokens in → out", tokens));
    const generating = (route.total_ms - route.ttft_ms) / 1000;
    if (generating > 0.05 && usage.completion_tokens > 1) {
      const speed = `${(usage.completion_tokens / generating).toFixed(1)} tok/s`;
      list.append(fact(labels.labelSpeed ?? "Speed", speed));
    }
  }
  return list;
}

function bar(kind: string, name: string, from: number, to: number, total: number): HTMLElement {
  const row = element("div", "waterfall-row");
  const track = element("div", "waterfall-track");
  const fill = element("div", "waterfall-bar");
  fill.dataset.kind = kind;
  fill.style.left = `${(100 * from) / total}%`;
  fill.style.width = `${(100 * Math.max(to - from, 0)) / total}%`;
  track.append(fill);
  row.append(element("span", "soft", name), track, element("span", "mono", milliseconds(to - from)));
  return row;
}

function waterfall(route: Route, labels: Labels): HTMLElement {
  const chart = element("div", "waterfall");
  const total = Math.max(route.total_ms, 0.001);
  chart.append(
    bar("queue", labels.labelQueue ?? "Waiting", 0, route.queue_ms, total),
    bar("first", labels.labelFirst ?? "First byte", route.queue_ms, route.ttft_ms, total),
    bar("stream", labels.labelStream ?? "Generating", route.ttft_ms, route.total_ms, total),
  );
  return chart;
}

function candidateRow(candidate: Candidate): HTMLTableRowElement {
  const row = document.createElement("tr");
  if (candidate.verdict === "chosen") row.className = "chosen";
  const cells: [string, string][] = [
    [candidate.worker_id, "mono"],
    [candidate.verdict, ""],
    [milliseconds(candidate.wait_ms), "num"],
    [milliseconds(candidate.service_ms), "num"],
    [candidate.score.toFixed(3), "num"],
  ];
  for (const [text, className] of cells) row.append(element("td", className, text));
  return row;
}

function candidates(route: Route, labels: Labels): HTMLElement {
  const wrap = element("div", "table-wrap");
  wrap.tabIndex = 0; // What scrolls must be reachable by keyboard.
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  const names: [string, string][] = [
    [labels.labelWorker ?? "Worker", ""],
    [labels.labelVerdict ?? "Verdict", ""],
    [labels.labelWait ?? "Wait", "num"],
    [labels.labelService ?? "Service", "num"],
    [labels.labelScore ?? "Score", "num"],
  ];
  for (const [name, className] of names) {
    const cell = element("th", className, name);
    cell.setAttribute("scope", "col");
    head.append(cell);
  }
  const body = table.createTBody();
  const ordered = [...route.candidates].sort(
    (a, b) => Number(b.verdict === "chosen") - Number(a.verdict === "chosen") || a.score - b.score,
  );
  body.append(...ordered.map(candidateRow));
  wrap.append(table);
  return wrap;
}

/** Replace the content of `target` by the report of one call. */
export function showRoute(target: HTMLElement, route: Route): void {
  const labels = target.dataset;
  const parts: HTMLElement[] = [];
  if (route.emulated) {
    parts.push(element("p", "notice notice-signal", labels.labelEmulated ?? "Emulated: no model ran."));
  }
  parts.push(
    facts(route, labels),
    waterfall(route, labels),
    element("h3", "", labels.labelWhy ?? "Why this route?"),
    candidates(route, labels),
    element("p", "soft small", labels.labelLegend ?? ""),
  );
  const link = element("a", "small", labels.labelRecord ?? "Open the record of this call");
  link.setAttribute("href", `/usage/${route.request_id}`);
  parts.push(link);
  target.replaceChildren(...parts);
  target.hidden = false;
}
