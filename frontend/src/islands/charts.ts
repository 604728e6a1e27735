// Lines over time, or over a count that has a name (data-x). A page says where the data is
// (data-charts) and which columns go together (data-chart).
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { axisLook, colour, follow } from "./following";

type Columns = Record<string, (number | null)[]> & { at: number[] };

const HEIGHT = 180;
/** By position, so that lines differ without colour too. */
const DASHES = [[], [6, 4], [2, 4], [10, 4, 2, 4], [10, 4], [1, 6]];
const COLOURS = ["--rail", "--signal", "--ink-soft", "--danger", "--ok", "--ink"];
const LANGUAGE = document.documentElement.lang;
const COMPACT = new Intl.NumberFormat(LANGUAGE, { notation: "compact" });
// Rollups are kept by UTC hours and days.
const UTC = { timeZone: "UTC" } as const;
const DAY = new Intl.DateTimeFormat(LANGUAGE, { ...UTC, day: "numeric", month: "numeric" });
const HOUR = new Intl.DateTimeFormat(LANGUAGE, { ...UTC, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const MOMENT = new Intl.DateTimeFormat(LANGUAGE, { ...UTC, dateStyle: "short", timeStyle: "short" });
const DATE = new Intl.DateTimeFormat(LANGUAGE, { ...UTC, dateStyle: "medium" });
const FIGURE = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 4 });
const DAY_S = 86_400;
/** Ticks of a chart of days: no hours between them. */
const DAYS = [1, 2, 3, 7, 14, 30, 90, 365].map((days) => days * DAY_S);

/** What stands below the ticks of a time axis: days, or hours with the day at midnight. */
function moments(ticks: number[], step: number): string[] {
  return ticks.map((seconds) => (step >= DAY_S || seconds % DAY_S === 0 ? DAY : HOUR).format(seconds * 1000));
}

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
  const times: uPlot.Axis = { ...axis, space: 64, values: (_, ticks, __, ___, step) => moments(ticks, step), ...(isDaily && { incrs: DAYS }) };
  const xAxis = isTime ? times : axis;
  const x: uPlot.Series = isTime
    ? { label: "UTC", value: (_, seconds: number | null) => (seconds === null ? "–" : (isDaily ? DATE : MOMENT).format(seconds * 1000)) }
    : { label: holder.dataset.x ?? "" };
  const options: uPlot.Options = {
    width: holder.clientWidth,
    height: HEIGHT,
    // Ticks fall on the hours and days of UTC.
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
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
