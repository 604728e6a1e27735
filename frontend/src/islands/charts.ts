// Lines over time, or over a count that has a name (data-x). A page says where the data is
// (data-charts) and which columns go together (data-chart).
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { colour, follow } from "./following";

type Columns = Record<string, (number | null)[]> & { at: number[] };

const HEIGHT = 180;
/** By position, so that lines differ without colour too. */
const DASHES = [[], [6, 4], [2, 4], [10, 4, 2, 4], [10, 4], [1, 6]];
const COLOURS = ["--rail", "--signal", "--ink-soft", "--danger", "--ok", "--ink"];
const COMPACT = new Intl.NumberFormat(document.documentElement.lang, { notation: "compact" });

/** Room for the longest label of the y axis, in pixels. */
function axisWidth(_: uPlot, labels: string[] | null): number {
  return Math.max(56, 16 + 8 * Math.max(0, ...(labels ?? []).map((label) => label.length)));
}

function draw(holder: HTMLElement, columns: Columns): uPlot {
  const names = (holder.dataset.chart ?? "").split(" ");
  const labels = (holder.dataset.labels ?? "").split("|");
  const axis = { stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const series = names.map((name, i) => ({
    label: labels[i] ?? name,
    stroke: colour(COLOURS[i % COLOURS.length] ?? "--rail"),
    dash: DASHES[i % DASHES.length] ?? [],
    width: 2,
    points: { show: columns.at.length <= 60 },
  }));
  const options: uPlot.Options = {
    width: holder.clientWidth,
    height: HEIGHT,
    // Rollups are kept by UTC hours and days.
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    axes: [axis, { ...axis, size: axisWidth, values: (_, ticks) => ticks.map((tick) => COMPACT.format(tick)) }],
    scales: { x: { time: !holder.dataset.x }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    series: [{ label: holder.dataset.x ?? "UTC" }, ...series],
  };
  return new uPlot(options, [columns.at, ...names.map((name) => columns[name] ?? [])], holder);
}

for (const root of document.querySelectorAll<HTMLElement>("[data-charts]")) {
  const source = document.getElementById(root.dataset.charts ?? "");
  const columns = JSON.parse(source?.textContent ?? "{}") as Columns;
  const holders = [...root.querySelectorAll<HTMLElement>("[data-chart]")];
  follow(holders, HEIGHT, (holder) => draw(holder, columns));
}
