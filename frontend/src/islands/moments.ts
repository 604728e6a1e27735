// Times of charts: in UTC, as rollups are kept and pages say them, in the page's language. Pure.
const UTC = { timeZone: "UTC" } as const;
export const DAY_S = 86_400;

export interface Moments {
  /** What stands below the ticks of an axis: days, or hours with the day at midnight. */
  ticks: (seconds: number[], step: number) => string[];
  moment: (seconds: number) => string;
  date: (seconds: number) => string;
}

export function momentsOf(language: string): Moments {
  const day = new Intl.DateTimeFormat(language, { ...UTC, day: "numeric", month: "numeric" });
  const hour = new Intl.DateTimeFormat(language, { ...UTC, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const moment = new Intl.DateTimeFormat(language, { ...UTC, dateStyle: "short", timeStyle: "short" });
  const date = new Intl.DateTimeFormat(language, { ...UTC, dateStyle: "medium" });
  return {
    ticks: (ticks, step) => ticks.map((seconds) => (step >= DAY_S || seconds % DAY_S === 0 ? day : hour).format(seconds * 1000)),
    moment: (seconds) => moment.format(seconds * 1000),
    date: (seconds) => date.format(seconds * 1000),
  };
}
