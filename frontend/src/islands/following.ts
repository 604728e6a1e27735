// What charts of uPlot have in common: colours out of the theme, and following it and the window.
import uPlot from "uplot";

/** A token of the design system as a canvas takes it. */
export function colour(name: string): string {
  const probe = document.body.appendChild(document.createElement("span"));
  probe.style.color = `var(${name})`;
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}

/** What is alike in both axes of every chart. */
export function axisLook(): uPlot.Axis {
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return { font, stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
}

/** Has ticks fall on the hours and days of UTC. */
export function inUtc(seconds: number): Date {
  return uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
}

/** Draw a chart in each holder, as wide as the holder; redraw it when the theme changes. */
export async function follow(holders: HTMLElement[], height: number, draw: (holder: HTMLElement) => uPlot): Promise<void> {
  // A canvas keeps the font that was there as it was drawn.
  await document.fonts.ready;
  let charts = holders.map(draw);
  addEventListener("resize", () => {
    charts.forEach((chart, i) => { chart.setSize({ width: holders[i]?.clientWidth ?? 0, height }); });
  });
  // Canvases do not follow the theme by themselves.
  const redraw = (): void => {
    charts.forEach((chart) => { chart.destroy(); });
    charts = holders.map(draw);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}
