import type { Recipe } from '../rootfs/recipe.ts';

/** TPL7: a small Debian for people and agents: a shell, Python, git, curl; `user` (uid 1000) may do everything by sudo. */
export const minimal: Recipe = {
  name: 'minimal',
  packages: ['bash', 'ca-certificates', 'curl', 'git', 'iproute2', 'less', 'procps', 'python3', 'sudo'],
  sizeBytes: 20 * 1024 ** 3, // FS5
};
