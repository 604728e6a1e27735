// Load curves: lines over load or time with error bars. A page says where the data is (data-curves), which columns
// go together (data-curve) and how they are called (data-labels). `x` is the column that they are over.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { axisLook, colour, follow, inUtc } from "./following";
import { momentsOf } from "./moments";

type Columns = Record<string, (number | null)[]> & { x: number[] };

const HEIGHT = 240;
const BAR = 4;
/** By position, so that lines differ without colour too. */
const DASHES = [[], [6, 4], [2, 3], [10, 4], [10, 4, 2, 4], [1, 5]];
const COLOURS = ["--rail", "--signal", "--danger", "--ink-soft", "--ok", "--ink"];
const COMPACT = new Intl.NumberFormat(document.documentElement.lang, { notation: "compact", maximumSignificantDigits: 3 });
const MOMENTS = momentsOf(document.documentElement.lang);

/** 95 % intervals: a bar from low to high with a cap at each end. */
function errorBars(plot: uPlot, names: string[], columns: Columns): void {
  names.forEach((name, i) => {
    const low = columns[`${name}_low`], high = columns[`${name}_high`];
    if (!low || !high) return;
    plot.ctx.save();
    plot.ctx.strokeStyle = colour(COLOURS[i % COLOURS.length] ?? "--rail");
    plot.ctx.lineWidth = devicePixelRatio;
    plot.ctx.beginPath();
    columns.x.forEach((at, j) => {
      const from = low[j], to = high[j];
      if (from == null || to == null) return;
      const x = plot.valToPos(at, "x", true), y0 = plot.valToPos(from, "y", true), y1 = plot.valToPos(to, "y", true);
      plot.ctx.moveTo(x, y0); plot.ctx.lineTo(x, y1);
      for (const y of [y0, y1]) { plot.ctx.moveTo(x - BAR, y); plot.ctx.lineTo(x + BAR, y); }
    });
    plot.ctx.stroke();
    plot.ctx.restore();
  });
}

function kneeLine(plot: uPlot, at: number | null | undefined): void {
  if (at == null) return;
  const x = plot.valToPos(at, "x", true);
  plot.ctx.save();
  plot.ctx.strokeStyle = colour("--line-strong");
  plot.ctx.setLineDash([3, 3]);
  plot.ctx.beginPath();
  plot.ctx.moveTo(x, plot.bbox.top); plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
  plot.ctx.stroke();
  plot.ctx.restore();
}

function draw(holder: HTMLElement, columns: Columns): uPlot {
  const names = (holder.dataset.curve ?? "").split(" ").filter(Boolean);
  const labels = (holder.dataset.labels ?? "").split("|");
  const overTime = holder.dataset.over === "time";
  const axis = axisLook();
  const highest = Math.max(1e-9, ...names.flatMap((name) => [...(columns[name] ?? []), ...(columns[`${name}_high`] ?? [])].map((value) => value ?? 0)));
  // A single point has a place in the middle of an hour, or of two loads.
  const pad = overTime ? 1800 : 1;
  const xAxis: uPlot.Axis = overTime
    ? { ...axis, space: 64, values: (_, ticks, __, ___, step) => MOMENTS.ticks(ticks, step) }
    : { ...axis, values: (_, ticks) => ticks.map((tick) => COMPACT.format(tick)) };
  const told = overTime ? MOMENTS.moment : (load: number): string => COMPACT.format(load);
  const options: uPlot.Options = {
    width: holder.clientWidth,
    height: HEIGHT,
    tzDate: inUtc,
    axes: [
      xAxis,
      { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => COMPACT.format(tick)) },
    ],
    scales: { x: { time: overTime, range: (_, min, max) => (min === max ? [min - pad, max + pad] : [min, max]) }, y: { range: [0, highest * 1.1] } },
    series: [
      { label: overTime ? "UTC" : (holder.dataset.x ?? "x"), value: (_, at: number | null) => (at === null ? "–" : told(at)) },
      ...names.map((name, i) => ({
        label: labels[i] ?? name,
        stroke: colour(COLOURS[i % COLOURS.length] ?? "--rail"),
        dash: DASHES[i % DASHES.length] ?? [],
        width: 2,
        spanGaps: true,
        points: { show: true, size: 6 },
        value: (_: uPlot, figure: number | null) => (figure === null ? "–" : COMPACT.format(figure)),
      })),
    ],
    hooks: { draw: [(plot) => { errorBars(plot, names, columns); kneeLine(plot, columns.knee?.[0]); }], ready: [(plot) => { plot.setLegend({ idx: columns.x.length - 1 }); }] },
  };
  return new uPlot(options, [columns.x, ...names.map((name) => columns[name] ?? [])], holder);
}

for (const root of document.querySelectorAll<HTMLElement>("[data-curves]")) {
  const source = document.getElementById(root.dataset.curves ?? "");
  const columns = JSON.parse(source?.textContent ?? '{"x":[]}') as Columns;
  const holders = [...root.querySelectorAll<HTMLElement>("[data-curve]")];
  void follow(holders, HEIGHT, (holder) => draw(holder, columns));
}
