import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** Folders of the npm packages that a workspace needs to run, and these tools, theirs included; the checkout's own workspaces are left out. */
export function runtimePackages(checkout: string, workspace: string, tools: readonly string[] = []): string[] {
  const found = new Set<string>();
  const add = (folder: string) => {
    const { dependencies, optionalDependencies } = JSON.parse(
      readFileSync(join(folder, 'package.json'), 'utf8'),
    ) as Manifest;
    for (const name of Object.keys({ ...optionalDependencies, ...dependencies })) {
      const place = resolve(folder, name, checkout);
      if (place === null || found.has(place)) continue;
      if (realpathSync(place) === place) found.add(place); // a workspace is a link to its folder
      add(realpathSync(place));
    }
  };
  add(join(checkout, workspace));
  for (const tool of tools) {
    const folder = join(checkout, 'node_modules', tool);
    found.add(folder);
    add(folder);
  }
  return [...found];
}

/** As Node looks it up; null: an optional package for another platform. */
function resolve(folder: string, name: string, checkout: string): string | null {
  for (let at = folder; ; at = dirname(at)) {
    const place = join(at, 'node_modules', name);
    if (existsSync(join(place, 'package.json'))) return place;
    if (at === checkout) return null;
  }
}
