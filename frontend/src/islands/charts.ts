// Lines over time, or over a count that has a name (data-x). A page says where the data is
// (data-charts) and which columns go together (data-chart).
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { axisLook, colour, follow, inUtc } from "./following";
import { DAY_S, momentsOf } from "./moments";

type Columns = Record<string, (number | null)[]> & { at: number[] };

const HEIGHT = 180;
/** By position, so that lines differ without colour too. */
const DASHES = [[], [6, 4], [2, 4], [10, 4, 2, 4], [10, 4], [1, 6]];
const COLOURS = ["--rail", "--signal", "--ink-soft", "--danger", "--ok", "--ink"];
const COMPACT = new Intl.NumberFormat(document.documentElement.lang, { notation: "compact" });
const FIGURE = new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 4 });
const MOMENTS = momentsOf(document.documentElement.lang);
/** Ticks of a chart of days: no hours between them. */
const DAYS = [1, 2, 3, 7, 14, 30, 90, 365].map((days) => days * DAY_S);

/** Room for the longest label of the y axis, in pixels. */
function axisWidth(_: uPlot, labels: string[] | null): number {
  return Math.max(56, 16 + 8 * Math.max(0, ...(labels ?? []).map((label) => label.length)));
}

function draw(holder: HTMLElement, columns: Columns): uPlot {
  const names = (holder.dataset.chart ?? "").split(" ");
  const labels = (holder.dataset.labels ?? "").split("|");
  const axis = axisLook();
  const series = names.map((name, i) => ({
    label: labels[i] ?? name,
    stroke: colour(COLOURS[i % COLOURS.length] ?? "--rail"),
    dash: DASHES[i % DASHES.length] ?? [],
    width: 2,
    spanGaps: true, // A step without calls measured nothing; the points say which ones did.
    points: { show: columns.at.length <= 60 },
    value: (_: uPlot, figure: number | null) => (figure === null ? "–" : FIGURE.format(figure)),
  }));
  const isTime = !holder.dataset.x;
  const isDaily = isTime && columns.at.every((seconds) => seconds % DAY_S === 0);
  const times: uPlot.Axis = { ...axis, space: 64, values: (_, ticks, __, ___, step) => MOMENTS.ticks(ticks, step), ...(isDaily && { incrs: DAYS }) };
  const xAxis = isTime ? times : axis;
  const x: uPlot.Series = isTime
    ? { label: "UTC", value: (_, seconds: number | null) => (seconds === null ? "–" : (isDaily ? MOMENTS.date : MOMENTS.moment)(seconds)) }
    : { label: holder.dataset.x ?? "" };
  const options: uPlot.Options = {
    width: holder.clientWidth,
    height: HEIGHT,
    tzDate: inUtc,
    axes: [xAxis, { ...axis, size: axisWidth, values: (_, ticks) => ticks.map((tick) => COMPACT.format(tick)) }],
    scales: { x: { time: isTime }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    series: [x, ...series],
    // The legend has the last figures until somebody points at others.
    hooks: { ready: [(chart) => { chart.setLegend({ idx: columns.at.length - 1 }); }] },
  };
  return new uPlot(options, [columns.at, ...names.map((name) => columns[name] ?? [])], holder);
}

for (const root of document.querySelectorAll<HTMLElement>("[data-charts]")) {
  const source = document.getElementById(root.dataset.charts ?? "");
  const columns = JSON.parse(source?.textContent ?? "{}") as Columns;
  const holders = [...root.querySelectorAll<HTMLElement>("[data-chart]")];
  void follow(holders, HEIGHT, (holder) => draw(holder, columns));
}
