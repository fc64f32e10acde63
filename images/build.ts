/**
 * Builds an image: `<WRENN_DIR>/images/<name>.ext4` and its manifest `<name>.json`. Does nothing when neither the
 * recipe nor Wrenn's programs in it changed.
 *
 *     node images/build.ts minimal|code-interpreter
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { distribution } from '../scripts/lib/apt-sources.ts';
import { contentHash } from '../scripts/lib/content-hash.ts';
import { buildPaths } from './paths.ts';
import { digestOf, publishFile, writeFileDurably } from './publish.ts';
import { codeInterpreter } from './recipes/code-interpreter.ts';
import { minimal } from './recipes/minimal.ts';
import { debianRoot, installedPackages } from './rootfs/debootstrap.ts';
import { MKFS_OPTIONS, makeExt4, sparseDigest } from './rootfs/ext4.ts';
import { copyFiles } from './rootfs/files.ts';
import { addOverlay } from './rootfs/overlay.ts';
import type { Recipe } from './rootfs/recipe.ts';

/** What the agent reads of an image. */
export interface ImageManifest {
  name: string;
  /** sha256 over the content: an overlay or a snapshot is bound to exactly this image. */
  digest: string;
  /** sha256 over what it was made from: the same means that there is nothing to build. */
  inputs: string;
  size_bytes: number;
  allocated_bytes: number;
  /** Port of the guest that accepts connections once the image's services are ready; null where it has none. */
  ready_port: number | null;
  built_from: { distribution: string; envd: string; init: string; packages: string[] };
}

const RECIPES: Record<string, Recipe> = { minimal, 'code-interpreter': codeInterpreter };

const recipe = RECIPES[process.argv[2] ?? ''];
if (!recipe) {
  console.error(`usage: node images/build.ts ${Object.keys(RECIPES).join('|')}`);
  process.exit(2);
}
await build(recipe);

async function build(recipe: Recipe): Promise<void> {
  const paths = buildPaths(process.env);
  const { id, codename } = distribution();
  const [envd, init] = await Promise.all([digestOf(paths.envd), digestOf(paths.init)]);
  const installed = recipe.install ? [contentHash(recipe.install.inputs)] : [];
  const system = sha256(JSON.stringify([recipe.name, recipe.packages, id, codename, ...installed]));
  const files = contentHash((recipe.files ?? []).map(({ from }) => from));
  const inputs = sha256(
    JSON.stringify([system, recipe.sizeBytes, recipe.readyPort, MKFS_OPTIONS, sourceText(), files, envd, init]),
  );
  const target = join(paths.wrennDir, 'images');
  const image = join(target, `${recipe.name}.ext4`);
  if (existsSync(image) && manifestOf(target, recipe.name)?.inputs === inputs)
    return console.log(`image ${recipe.name}: current`);
  mkdirSync(target, { recursive: true });
  const root = await debianRoot(recipe, paths.cache, system.slice(0, 12));
  addOverlay(root, paths);
  await copyFiles(root, recipe.files ?? []);
  const draft = `${image}.${process.pid}.new`;
  await makeExt4(root, draft, recipe.sizeBytes);
  const manifest: ImageManifest = {
    name: recipe.name,
    digest: await sparseDigest(draft),
    inputs,
    size_bytes: recipe.sizeBytes,
    allocated_bytes: statSync(draft).blocks * 512, // FS6
    ready_port: recipe.readyPort ?? null,
    built_from: { distribution: `${id} ${codename}`, envd, init, packages: installedPackages(root) },
  };
  publishFile(draft, image);
  writeFileDurably(join(target, `${recipe.name}.json`), `${JSON.stringify(manifest, null, 2)}\n`);
  console.log(
    `image ${recipe.name}: ${Math.round(manifest.allocated_bytes / 1e6)} MB of ${recipe.sizeBytes / 1024 ** 3} GB, ${manifest.digest}`,
  );
}

function manifestOf(folder: string, name: string): ImageManifest | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as ImageManifest;
  } catch {
    return undefined;
  }
}

/** The overlay's and file system's own source: a change of either makes another image. */
function sourceText(): string {
  return ['overlay.ts', 'files.ts', 'ext4.ts']
    .map((name) => readFileSync(join(import.meta.dirname, 'rootfs', name), 'utf8'))
    .join('');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
