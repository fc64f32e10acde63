import { createSubscriber } from 'svelte/reactivity';

export type Theme = 'auto' | 'light' | 'dark';

const STORAGE = 'wrenn.theme';
const system = matchMedia('(prefers-color-scheme: dark)');

/** Follows the machine's setting unless one is chosen. */
class ThemeChoice {
  value = $state<Theme>((localStorage.getItem(STORAGE) as Theme | null) ?? 'auto');
  readonly #followSystem = createSubscriber((update) => {
    system.addEventListener('change', update);
    return () => system.removeEventListener('change', update);
  });

  constructor() {
    this.#apply();
  }

  /** What is seen: for what is drawn on a canvas, where CSS does not reach. */
  get dark(): boolean {
    this.#followSystem();
    return this.value === 'auto' ? system.matches : this.value === 'dark';
  }

  choose(theme: Theme): void {
    this.value = theme;
    localStorage.setItem(STORAGE, theme);
    this.#apply();
  }

  #apply(): void {
    document.documentElement.style.colorScheme = this.value === 'auto' ? 'light dark' : this.value;
  }
}

export const theme = new ThemeChoice();
