/** inert tells that a key press belongs to a field, an input method or the browser, not to the page's keys. */
export function inert(e: KeyboardEvent): boolean {
  if (e.isComposing || e.keyCode === 229 || e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return true;
  const el = e.target;
  if (typeof Element === "undefined" || !(el instanceof Element)) return false;
  if (el.closest("[role=dialog],[role=menu],[role=listbox]")) return true;
  return el.matches("input,textarea,select,[contenteditable=true],[contenteditable='']");
}
