// Forms that submit themselves when a field of theirs is changed.
//
// What keys change is not done at once: a date is typed part by part, and each arrow key chooses another option of a
// closed list. It is done by Enter, or when the form is left. A list that keys open is changed when it closes: at once.

/** Forms with a change by keys that nobody has submitted yet. */
const waiting = new WeakSet<HTMLFormElement>();
let keyed: EventTarget | null = null;

function formOf(target: EventTarget | null): HTMLFormElement | null {
  return target instanceof Element ? target.closest<HTMLFormElement>("form[data-submit-on-change]") : null;
}

function submit(form: HTMLFormElement): void {
  waiting.delete(form);
  form.requestSubmit();
}

function isDate(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement && target.type === "date";
}

document.addEventListener("keydown", (event) => {
  const form = formOf(event.target);
  if (!form) return;
  if (event.key === "Enter" && waiting.has(form)) {
    event.preventDefault();
    submit(form);
  } else {
    press(event.target);
  }
});
// A letter chooses the option that begins with it, in a task of its own.
document.addEventListener("keypress", ({ target }) => { if (formOf(target)) press(target); });

/** A closed list changes while its key is handled, an open one later; a date's parts change at any time. */
function press(target: EventTarget | null): void {
  keyed = target;
  if (!isDate(target)) setTimeout(() => { if (keyed === target) keyed = null; });
}

document.addEventListener("pointerdown", () => { keyed = null; });

document.addEventListener("change", ({ target }) => {
  const form = formOf(target);
  if (!form) return;
  if (target === keyed) waiting.add(form);
  else submit(form);
});

document.addEventListener("focusout", ({ target, relatedTarget }) => {
  const form = formOf(target);
  if (form && waiting.has(form) && !(relatedTarget instanceof Node && form.contains(relatedTarget))) submit(form);
});
