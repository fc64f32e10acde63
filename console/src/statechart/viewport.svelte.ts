const LARGEST_FIT = 1.15;
const MIN_SCALE = 0.15;
const MAX_SCALE = 4;
const ZOOM_STEP = 1.25;
const PAN_STEP = 60;

/** Which part of a drawing is seen, and how large: fitted until somebody moves it. */
export class Viewport {
  x = $state(0);
  y = $state(0);
  scale = $state(1);
  /** Somebody has panned or zoomed: it stays as they left it. */
  moved = $state(false);

  #size = { width: 1, height: 1 };
  #content = { width: 1, height: 1 };

  resize(size: { width: number; height: number }, content: { width: number; height: number }): void {
    const other = content.width !== this.#content.width || content.height !== this.#content.height;
    this.#size = size;
    this.#content = content;
    if (other || !this.moved) this.fit();
  }

  /** The whole drawing, in the middle. */
  fit(): void {
    const { width, height } = this.#size;
    this.scale = Math.min(width / this.#content.width, height / this.#content.height, LARGEST_FIT);
    this.x = (width - this.#content.width * this.scale) / 2;
    this.y = (height - this.#content.height * this.scale) / 2;
    this.moved = false;
  }

  pan(dx: number, dy: number): void {
    this.x += dx;
    this.y += dy;
    this.moved = true;
  }

  /** Keeps the point (in pixels of the viewport) where it is. */
  zoom(factor: number, at = { x: this.#size.width / 2, y: this.#size.height / 2 }): void {
    const scale = Math.min(MAX_SCALE, Math.max(MIN_SCALE, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.moved = true;
  }

  /** @returns whether the key meant something. */
  key(name: string): boolean {
    const moves: Record<string, () => void> = {
      ArrowLeft: () => this.pan(PAN_STEP, 0),
      ArrowRight: () => this.pan(-PAN_STEP, 0),
      ArrowUp: () => this.pan(0, PAN_STEP),
      ArrowDown: () => this.pan(0, -PAN_STEP),
      '+': () => this.zoom(ZOOM_STEP),
      '=': () => this.zoom(ZOOM_STEP),
      '-': () => this.zoom(1 / ZOOM_STEP),
      '0': () => this.fit(),
    };
    moves[name]?.();
    return moves[name] !== undefined;
  }
}
