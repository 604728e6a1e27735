// Forms that submit themselves when a field of theirs is changed.

function isDate(target: EventTarget | null): target is HTMLInputElement {
  return target instanceof HTMLInputElement && target.type === "date";
}

function formOf(target: EventTarget | null): HTMLFormElement | null {
  return target instanceof Element ? target.closest<HTMLFormElement>("form[data-submit-on-change]") : null;
}

// Keys change a date part by part, and each part is a change: it is whole when its field is left, or by Enter.
let typedIn: EventTarget | null = null;

document.addEventListener("keydown", (event) => {
  if (!isDate(event.target)) return;
  if (event.key !== "Enter") typedIn = event.target;
  else formOf(event.target)?.requestSubmit();
});

document.addEventListener("pointerdown", () => { typedIn = null; });

document.addEventListener("focusout", ({ target, relatedTarget }) => {
  const form = isDate(target) ? formOf(target) : null;
  if (!form || (isDate(relatedTarget) && relatedTarget.form === form)) return;
  const dates = [...form.elements].filter(isDate);
  if (dates.some((date) => date.value !== date.defaultValue)) form.requestSubmit();
});

document.addEventListener("change", ({ target }) => {
  if (target !== typedIn) formOf(target)?.requestSubmit();
});
