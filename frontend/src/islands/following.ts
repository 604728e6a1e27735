// What charts of uPlot have in common: colours out of the theme, and following it and the window.
import type uPlot from "uplot";

/** A token of the design system as a canvas takes it. */
export function colour(name: string): string {
  const probe = document.body.appendChild(document.createElement("span"));
  probe.style.color = `var(${name})`;
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}

/** Draw a chart in each holder, as wide as the holder; redraw it when the theme changes. */
export function follow(holders: HTMLElement[], height: number, draw: (holder: HTMLElement) => uPlot): void {
  let charts = holders.map(draw);
  addEventListener("resize", () => {
    charts.forEach((chart, i) => { chart.setSize({ width: holders[i]?.clientWidth ?? 0, height }); });
  });
  // Canvases do not follow the theme by themselves.
  new MutationObserver(() => {
    charts.forEach((chart) => { chart.destroy(); });
    charts = holders.map(draw);
  }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}
