// JSON whose integers keep all their digits. Pure.

const STRING_OR_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** The value of a JSON text. An integer that no number of a script is becomes a text of its digits. */
export function readExact<T>(text: string): T {
  // Nearly no answer has one, and large answers would wait for the search.
  const exact = /\d{16}/.test(text) ? text.replace(STRING_OR_NUMBER, (token) => (isTooLong(token) ? `"${token}"` : token)) : text;
  return JSON.parse(exact) as T;
}

function isTooLong(token: string): boolean {
  return /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token));
}
