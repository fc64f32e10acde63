export type Theme = 'auto' | 'light' | 'dark';

const STORAGE = 'wrenn.theme';

/** Follows the machine's setting unless one is chosen. */
class ThemeChoice {
  value = $state<Theme>((localStorage.getItem(STORAGE) as Theme | null) ?? 'auto');

  constructor() {
    this.#apply();
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
