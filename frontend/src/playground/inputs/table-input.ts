// A tensor as a table: rows to add, remove and paste, each cell checked.
import { complain, element, find, stamped } from "../dom";
import { rowsFromCsv } from "./csv";
import { control, read, type Control } from "./fields";
import { tableTensor, type SentTensor, type TensorInput } from "./tensors";
import { isProblem, type Value } from "./validate";
import { say, type Words } from "../words";

/** More rows make a page slow; a program may send as many as a body holds. */
export const ROWS_MAX = 200;

/** What the form needs from any input. `take` is null if something is wrong: it is said next to it, and in focus, unless
 * that is to be quiet. */
export interface InputWidget {
  node: HTMLElement;
  take: (isQuiet: boolean) => SentTensor | null;
  rows: () => number;
  state: () => unknown;
}

type TableInput = Extract<TensorInput, { kind: "table" }>;

export function tableInput(input: TableInput, words: Words, saved: unknown, changed: () => void): InputWidget {
  const node = stamped("table-input");
  const body = find<HTMLTableSectionElement>(node, "tbody");
  const head = find<HTMLTableRowElement>(node, "thead tr");
  const addButton = find<HTMLButtonElement>(node, "[data-add-row]");
  const box = find<HTMLElement>(node, "[data-problem]");
  const rows: Control[][] = [];
  find(node, "[data-title]").textContent = input.title;
  find(node, "[data-help]").textContent = input.help;
  for (const column of input.columns) {
    const cell = element("th", "mono", column.title);
    cell.setAttribute("scope", "col");
    head.lastElementChild?.before(cell);
  }

  const number = (): void => {
    [...body.rows].forEach((row, i) => {
      const n = i + 1;
      find(row, "th").textContent = String(n);
      find(row, "[data-remove-row]").setAttribute("aria-label", say(words, "removeRow", { n }));
      rows[i]?.forEach(({ field, input: cell }) => { cell.setAttribute("aria-label", `${field.title}, ${say(words, "row", { n })}`); });
    });
    addButton.disabled = rows.length >= (input.rowsFixed ?? ROWS_MAX);
  };
  const add = (values: string[]): void => {
    const controls = input.columns.map((column, i) => control(column, values[i] ?? column.initial));
    const row = body.insertRow();
    const head = element("th", "num");
    head.setAttribute("scope", "row");
    row.append(head);
    for (const one of controls) {
      const cell = row.insertCell();
      cell.append(one.input, one.box);
    }
    const remove = element("button", "button button-s button-quiet", "×") as HTMLButtonElement;
    remove.type = "button";
    remove.dataset.removeRow = "";
    remove.hidden = input.rowsFixed !== null;
    remove.addEventListener("click", () => {
      rows.splice(rows.indexOf(controls), 1);
      row.remove();
      number();
      changed();
      addButton.focus();
    });
    row.insertCell().append(remove);
    rows.push(controls);
    number();
  };
  const replace = (all: string[][]): void => {
    rows.length = 0;
    body.replaceChildren();
    all.forEach(add);
    number();
    changed();
  };
  const paste = (text: string): boolean => {
    const found = rowsFromCsv(text, input.columns.map((column) => column.title), input.rowsFixed ?? ROWS_MAX);
    complain(body, box, isProblem(found) ? say(words, found.problem, found.values) : "");
    if (isProblem(found)) return false;
    replace(found);
    return true;
  };

  addButton.hidden = input.rowsFixed !== null;
  addButton.addEventListener("click", () => {
    add(rows.at(-1)?.map((one) => one.input.value) ?? []);
    changed();
    rows.at(-1)?.[0]?.input.focus();
  });
  // A paste of one value goes where the cursor is; of several, it becomes the table.
  body.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!/[\n\t]/.test(text.trim())) return;
    event.preventDefault();
    paste(text);
  });
  const area = find<HTMLTextAreaElement>(node, "textarea");
  area.id = `csv-${input.tensor.name}`;
  find(node, "[data-csv-label]").setAttribute("for", area.id);
  find(node, "[data-csv]").addEventListener("click", () => { if (paste(area.value)) area.value = ""; });

  const kept = Array.isArray(saved) ? (saved as string[][]) : [];
  const first = Array.from({ length: input.rowsFixed ?? 1 }, (): string[] => []);
  (kept.length ? kept : first).forEach(add);

  return {
    node,
    // What is charged for is the first axis: of a flat tensor each value.
    rows: () => Math.max(rows.length, 1) * (input.tensor.shape.length === 1 ? input.columns.length : 1),
    state: () => rows.map((row) => row.map((one) => one.input.value)),
    take: (isQuiet) => {
      if (!isQuiet) complain(body, box, rows.length ? "" : say(words, "rows"));
      let wrong: Control | null = null;
      const values = rows.map((row) => row.map((one): Value => {
        const value = read(one, words, isQuiet);
        if (value === null || value === undefined) wrong ??= one;
        const numeric = input.tensor.datatype !== "BYTES" && input.tensor.datatype !== "BOOL";
        return typeof value === "boolean" && numeric ? Number(value) : (value ?? "");
      }));
      if (!isQuiet) (wrong as Control | null)?.input.focus();
      return wrong || !rows.length ? null : tableTensor(input.tensor, values);
    },
  };
}
