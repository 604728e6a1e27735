// What a person has typed survives a reload, in this tab only.

const PREFIX = "playground:";

/** What was kept under this name; null for nothing, or what is no longer understood. */
export function restore<T>(name: string, version: number): T | null {
  try {
    const kept = JSON.parse(sessionStorage.getItem(PREFIX + name) ?? "null") as { version: number; state: T } | null;
    return kept?.version === version ? kept.state : null;
  } catch {
    return null;
  }
}

/** Keep it. Where the browser has no more room (pictures are large), the last that fitted stays. */
export function keep(name: string, version: number, state: unknown): boolean {
  try {
    sessionStorage.setItem(PREFIX + name, JSON.stringify({ version, state }));
    return true;
  } catch {
    return false;
  }
}
