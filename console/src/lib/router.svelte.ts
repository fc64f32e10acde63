/** The address bar as state. Paths are those of the page; nothing is kept beside it, so that every view is a link. */
class Router {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));

  constructor() {
    addEventListener('popstate', () => this.#read());
    document.addEventListener('click', (click) => this.#follow(click));
  }

  go(to: string, options: { readonly replace?: boolean } = {}): void {
    const here = location.pathname + location.search;
    if (to !== here) history[options.replace ? 'replaceState' : 'pushState'](null, '', to);
    this.#read();
  }

  /** Changes parameters of the present address, without a new entry in the history; null removes one. */
  set(changes: Readonly<Record<string, string | null>>): void {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) query.delete(name);
      else query.set(name, value);
    }
    const text = query.toString();
    this.go(location.pathname + (text && `?${text}`), { replace: true });
  }

  #read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  /** Links inside the console change the view; those to the API and elsewhere load. */
  #follow(click: MouseEvent): void {
    if (click.defaultPrevented || click.button !== 0 || click.metaKey || click.ctrlKey || click.shiftKey) return;
    const link = click.target instanceof Element ? click.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (!/^\/(login|signup|dashboard|admin)(\/|$)/.test(link.pathname)) return;
    click.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
