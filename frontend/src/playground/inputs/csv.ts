// Comma-, semicolon- or tab-separated text as rows (RFC 4180, and what spreadsheets put on the clipboard). Pure.
import { isProblem, type Problem } from "./validate";

const SEPARATORS = ["\t", ";", ","];

/** The first of tab, semicolon and comma that the first line has outside quotes. */
function separatorOf(text: string): string {
  const line = text.split(/\r?\n/, 1)[0]?.replace(/"[^"]*"/g, "") ?? "";
  return SEPARATORS.find((separator) => line.includes(separator)) ?? ",";
}

/** Rows of cells; empty lines are left out. */
export function parseCsv(text: string): string[][] | Problem {
  const separator = separatorOf(text);
  const rows: string[][] = [];
  let row: string[] = [], cell = "", quoted = false;
  const endCell = (): void => { row.push(cell); cell = ""; };
  const endRow = (): void => {
    endCell();
    if (row.some((value) => value.trim() !== "")) rows.push(row);
    row = [];
  };
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (quoted) {
      if (char !== '"') cell += char;
      else if (text.charAt(i + 1) === '"') { cell += '"'; i++; }
      else quoted = false;
    } else if (char === '"' && cell.trim() === "") { quoted = true; cell = ""; }
    else if (char === separator) endCell();
    else if (char === "\n") endRow();
    else if (char !== "\r") cell += char;
  }
  if (quoted) return { problem: "csvQuote", values: {} };
  endRow();
  return rows.length ? rows : { problem: "csvEmpty", values: {} };
}

/** Rows in the order of `columns`. A first line that names all of them may have them in any order. */
export function rowsFromCsv(text: string, columns: string[], rowsMax: number): string[][] | Problem {
  const parsed = parseCsv(text);
  if (isProblem(parsed)) return parsed;
  const head = parsed[0]?.map((cell) => cell.trim()) ?? [];
  const order = columns.map((column) => head.indexOf(column));
  const named = order.every((place) => place >= 0);
  const body = named ? parsed.slice(1) : parsed;
  if (!body.length) return { problem: "csvEmpty", values: {} };
  if (body.length > rowsMax) return { problem: "rowsMax", values: { max: rowsMax } };
  const wanted = named ? head.length : columns.length;
  const odd = body.findIndex((row) => row.length !== wanted);
  if (odd >= 0) {
    const values = { line: odd + 1 + Number(named), found: body[odd]?.length ?? 0, wanted };
    return { problem: "csvWidth", values };
  }
  return named ? body.map((row) => order.map((place) => (row[place] ?? "").trim())) : body.map((row) => row.map((cell) => cell.trim()));
}
