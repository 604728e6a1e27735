// What to do about a call that failed, by what the router said. Pure.

export interface Failure {
  /** 0 when the router did not answer at all. */
  status: number;
  code: string;
  retryAfterS: number | null;
}

/** Keys of the page's words, and of its addresses. */
export interface Advice { word: string; link: { url: string; word: string } | null; seconds: number | null }

const RETRY_S = 1;
/** The code of a stream that ended with an error: what came before is charged. */
export const BROKEN_STREAM = "broken_stream";

export function adviceOf({ status, code, retryAfterS }: Failure): Advice | null {
  const plain = (word: string): Advice => ({ word, link: null, seconds: null });
  switch (status) {
    case 0: return plain("adviceUnreachable");
    case 401: return { word: "adviceSignIn", link: { url: "login", word: "adviceSignInLink" }, seconds: null };
    case 402: {
      const budget = code === "budget_exhausted";
      const link = budget ? { url: "budgets", word: "adviceBudgetLink" } : { url: "billing", word: "adviceCreditLink" };
      return { word: "adviceCredit", link, seconds: null };
    }
    case 403: return plain("adviceRole");
    case 413: return plain("adviceLarge");
    case 429: return { word: "adviceWait", link: null, seconds: retryAfterS ?? RETRY_S };
    case 502: return plain(code === BROKEN_STREAM ? "adviceBroken" : "adviceFailed");
    case 503: return { word: "adviceBusy", link: null, seconds: retryAfterS ?? RETRY_S };
    default: return null;
  }
}
