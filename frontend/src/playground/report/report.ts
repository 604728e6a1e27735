// Draws what a call took and cost, and why it went where it went.
import type { Candidate, Route } from "../../router-client";
import { element, type Settings } from "../dom";
import { bars, ordered, penalty, reasons, restOfScore, retries, SCORED, type Bar } from "./explain";
import { stacks, type Stack, type TermWords } from "./terms";
import { decimal, milliseconds, say, type Words } from "../words";

type Labels = DOMStringMap;

function fact(name: string, value: string): HTMLElement {
  const group = element("div", "");
  group.append(element("dt", "", name), element("dd", "", value));
  return group;
}

function facts(route: Route, labels: Labels, unit?: string): HTMLElement {
  const list = element("dl", "facts");
  const { usage } = route;
  list.append(
    fact(labels.labelServed ?? "", `${route.worker} · ${route.hardware}`),
    fact(labels.labelCost ?? "", `$${decimal(Number(route.cost_usd), 2, 9)}`),
  );
  const counted = usage.rows || (unit ? usage.images : 0);
  if (counted > 0) list.append(fact(unit ?? labels.labelRows ?? "", String(counted)));
  if (!unit && usage.prompt_tokens + usage.cached_tokens + usage.completion_tokens > 0) {
    const tokens = `${usage.prompt_tokens + usage.cached_tokens} → ${usage.completion_tokens}`;
    list.append(fact(labels.labelTokens ?? "", tokens));
    const generating = (route.total_ms - route.ttft_ms) / 1000;
    if (generating > 0.05 && usage.completion_tokens > 1) {
      list.append(fact(labels.labelSpeed ?? "", `${decimal(usage.completion_tokens / generating, 1)} tok/s`));
    }
  }
  list.append(fact(labels.labelTotal ?? "", milliseconds(route.total_ms)));
  return list;
}

function barRow({ kind, name, from, to }: Bar, total: number): HTMLElement {
  const row = element("div", "waterfall-row");
  const track = element("div", "waterfall-track");
  const fill = element("div", "waterfall-bar");
  fill.dataset.kind = kind;
  fill.style.left = `${(100 * from) / total}%`;
  fill.style.width = `${(100 * Math.max(to - from, 0)) / total}%`;
  track.append(fill);
  row.append(element("span", "soft", name), track, element("span", "mono", milliseconds(Math.max(to - from, 0))));
  return row;
}

function waterfall(route: Route, labels: Labels, settings: Settings): HTMLElement {
  const chart = element("div", "waterfall");
  const total = Math.max(route.total_ms, 0.001);
  const names = { queue: labels.labelQueue ?? "", first: labels.labelFirst ?? "", stream: labels.labelStream ?? "" };
  chart.append(...bars(route, names, settings.words).map((bar) => barRow(bar, total)));
  return chart;
}

function candidateRow(candidate: Candidate, verdicts: Words): HTMLTableRowElement {
  const row = document.createElement("tr");
  if (candidate.verdict === "chosen") row.className = "chosen";
  const scored = SCORED.has(candidate.verdict);
  const rest = `${decimal(restOfScore(candidate), 3)}`;
  const cells: [string, string][] = [
    [candidate.worker_id, "mono"],
    [verdicts[candidate.verdict] ?? candidate.verdict, ""],
    [scored ? milliseconds(candidate.wait_ms) : "–", "num"],
    [scored ? milliseconds(candidate.service_ms) : "–", "num"],
    [scored ? decimal(penalty(candidate), 3) : "–", "num"],
    [scored ? rest : "–", "num"],
    [scored ? decimal(candidate.score, 3) : "–", "num"],
  ];
  for (const [text, className] of cells) row.append(element("td", className, text));
  return row;
}

/** A table that scrolls by itself where it is too wide. */
function tableOf(names: [string | undefined, string][], rows: HTMLTableRowElement[]): HTMLElement {
  const wrap = element("div", "table-wrap fit");
  wrap.tabIndex = 0; // What scrolls must be reachable by keyboard.
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const [name, className] of names) {
    const cell = element("th", className, name ?? "");
    cell.setAttribute("scope", "col");
    head.append(cell);
  }
  table.createTBody().append(...rows);
  wrap.append(table);
  return wrap;
}

function candidates(route: Route, labels: Labels, { verdict_names }: Settings): HTMLElement {
  return tableOf(
    [
      [labels.labelWorker, ""], [labels.labelVerdict, ""], [labels.labelWait, "num"],
      [labels.labelService, "num"], [labels.labelPenalty, "num"], [labels.labelRest, "num"], [labels.labelScore, "num"],
    ],
    ordered(route.candidates).map((one) => candidateRow(one, verdict_names)),
  );
}

const SVG = "http://www.w3.org/2000/svg";

function shape(tag: string, attributes: Record<string, string | number>): SVGElement {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

function stackRow({ worker, chosen, parts, totalMs }: Stack, widestMs: number): HTMLElement {
  const row = element("div", "waterfall-row");
  const track = shape("svg", { class: "waterfall-track", viewBox: "0 0 100 1", preserveAspectRatio: "none" });
  track.append(...parts.map(({ name, from, ms }) =>
    shape("rect", { class: `term term-${name}`, x: (100 * from) / widestMs, width: (100 * ms) / widestMs, height: 1 })));
  row.append(element("span", chosen ? "clip" : "clip soft", worker), track, element("span", "mono", milliseconds(totalMs)));
  return row;
}

function legend(terms: TermWords): HTMLElement {
  const list = element("dl", "terms");
  for (const [name, [label, meaning]] of Object.entries(terms)) {
    const swatch = shape("svg", { class: "swatch", viewBox: "0 0 1 1", "aria-hidden": "true" });
    swatch.append(shape("rect", { class: `term-${name}`, width: 1, height: 1 }));
    const group = element("div", "");
    const head = element("dt", "", label);
    head.prepend(swatch);
    group.append(head, element("dd", "soft small", meaning));
    list.append(group);
  }
  return list;
}

function termsTable(found: Stack[], labels: Labels, { terms }: Settings): HTMLElement {
  const names = Object.entries(terms).map(([, [label]]): [string | undefined, string] => [label, "num"]);
  const heads: [string | undefined, string][] = [[labels.labelWorker, ""], ...names, [labels.labelTotal, "num"], [labels.labelRemembered, "num"]];
  return tableOf(heads, found.map((one) => {
    const row = document.createElement("tr");
    if (one.chosen) row.className = "chosen";
    const name = element("th", "mono", one.worker);
    name.setAttribute("scope", "row");
    const remembered = say({ of: labels.labelTokensOf ?? "" }, "of", { cached: one.cached, prompt: one.prompt });
    const figures = [...one.parts.map(({ ms }) => milliseconds(ms)), milliseconds(one.totalMs), remembered];
    row.append(name, ...figures.map((text) => element("td", text === remembered ? "num cached" : "num", text)));
    return row;
  }));
}

/** What each engine would have taken, as bars and as a table; nothing where no engine was considered. */
function engines(route: Route, labels: Labels, settings: Settings): HTMLElement[] {
  const found = stacks(ordered(route.candidates));
  if (!found.length) return [];
  const widestMs = Math.max(...found.map(({ totalMs }) => totalMs), 0.001);
  const chart = element("div", "waterfall waterfall-named");
  chart.setAttribute("aria-hidden", "true"); // The table below says all of it.
  chart.append(...found.map((one) => stackRow(one, widestMs)));
  return [element("h3", "", labels.labelEngines), chart, legend(settings.terms), termsTable(found, labels, settings)];
}

function why(route: Route, settings: Settings): HTMLElement {
  const list = element("ul", "reasons");
  list.append(...reasons(route, settings.words, settings.verdicts, settings.terms).map((said) => element("li", "", said)));
  return list;
}

/** Replace the content of `target` by the report of one call. */
export function showRoute(target: HTMLElement, route: Route, settings: Settings): void {
  const labels = target.dataset;
  const parts: HTMLElement[] = [];
  if (route.emulated) parts.push(element("p", "notice notice-signal", labels.labelEmulated));
  parts.push(facts(route, labels, settings.words.unit), waterfall(route, labels, settings));
  parts.push(...retries(route, settings.words).map((said) => element("p", "small", said)));
  parts.push(
    element("h3", "", labels.labelWhy),
    why(route, settings),
    candidates(route, labels, settings),
    element("p", "soft small", labels.labelLegend),
    ...engines(route, labels, settings),
  );
  parts.push(recordLink(route.request_id, labels));
  target.replaceChildren(...parts);
  target.hidden = false;
}

/** The report of an answer of bytes, which has no room for a route: what its headers say. */
export function showHeaders(target: HTMLElement, headers: Headers): void {
  const labels = target.dataset;
  const list = element("dl", "facts");
  list.append(fact(labels.labelServed ?? "", headers.get("x-route-worker") ?? ""));
  const total = /total;dur=([\d.]+)/.exec(headers.get("server-timing") ?? "")?.[1];
  if (total) list.append(fact(labels.labelFirst ?? "", milliseconds(Number(total))));
  const emulated = headers.get("x-route-emulated") ? [element("p", "notice notice-signal", labels.labelEmulated)] : [];
  target.replaceChildren(...emulated, list, recordLink(headers.get("x-request-id") ?? "", labels));
  target.hidden = false;
}

function recordLink(requestId: string, labels: Labels): HTMLElement {
  const link = element("a", "small", labels.labelRecord);
  link.setAttribute("href", `/usage/${requestId}`);
  return link;
}
