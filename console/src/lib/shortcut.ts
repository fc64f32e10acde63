/** Whether a key is meant for the page: not for a field or a terminal, not for a dialog that is open, not for the browser. */
export function isShortcut(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
  const target = event.target as HTMLElement;
  if (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return false;
  return !target.closest('.xterm') && !document.querySelector('[role="dialog"]');
}
