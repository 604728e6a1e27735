// A drawer next to a list: it opens when htmx fills it, and closes by Escape, its button or the backdrop.
// The browser itself keeps the focus inside and gives it back to the link.

function drawerOf(event: Event): HTMLDialogElement | null {
  const target = event.target instanceof Element ? event.target : null;
  return target?.closest<HTMLDialogElement>("dialog.drawer") ?? null;
}

document.addEventListener("htmx:afterSwap", (event) => {
  const drawer = drawerOf(event);
  if (!drawer) return;
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
});

for (const failure of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(failure, (event) => {
    const target = (event as CustomEvent<{ target?: Element }>).detail.target;
    const drawer = target?.closest<HTMLDialogElement>("dialog.drawer");
    if (!drawer || !(target instanceof HTMLElement)) return;
    target.textContent = target.dataset.failed ?? "";
    if (!drawer.open) drawer.showModal();
  });
}

document.addEventListener("click", (event) => {
  const drawer = drawerOf(event);
  // Only the backdrop is the dialog itself: its content covers the rest.
  if (drawer && event.target === drawer) drawer.close();
});
