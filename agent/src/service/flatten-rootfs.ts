import { createHash } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { vmStatus } from '@wrenn/actors';
import {
  type FlattenRootfsRequest,
  type FlattenRootfsResponse,
  FlattenRootfsResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { allocatedBytes } from '../rootfs/allocated-bytes.ts';
import { shrinkImage } from '../rootfs/shrink.ts';
import { syncFolder } from '../snapshots/manifest.ts';
import { FOR_IMAGE } from '../snapshots/snapshots.ts';
import { checkCommand } from './command.ts';
import type { ServiceContext } from './context.ts';
import { failure } from './failure.ts';
import { refuseStale } from './refuse.ts';
import { makeSnapshot } from './snapshots.ts';

/** As in images.ts: it becomes a template's name. */
const IMAGE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/**
 * FS2, FS5: writes the disk as an image of its own, as small as what is in it, aside and renamed. The VM is frozen for a
 * moment, by a snapshot that goes when the image is written. A paused one is refused: what its guest had not written yet is
 * in its memory alone.
 */
export async function flattenRootfs(
  context: ServiceContext,
  request: FlattenRootfsRequest,
  signal: AbortSignal,
): Promise<FlattenRootfsResponse> {
  const command = checkCommand(request.command);
  refuseStale(context, command);
  const { name } = request;
  if (!IMAGE_NAME.test(name)) throw failure('bad_request', `not a name of an image: ${JSON.stringify(name)}`);
  const view = await context.journal.read(command.vmId);
  if (view !== null && vmStatus(view) === 'paused') {
    throw failure('not_running', 'part of what is on its disk is still in its memory: resume it first');
  }
  const id = `${FOR_IMAGE}${createHash('sha256').update(command.key).digest('hex').slice(0, 32)}`;
  await makeSnapshot(context, command, id, 0, signal);
  try {
    const origin = { kind: 'snapshot', snapshot_id: id } as const;
    const { layers } = await context.snapshots.check(origin);
    const image = join(context.files.images, `${name}.ext4`);
    const aside = join(context.files.images, `.${name}.new`);
    await mkdir(context.files.images, { recursive: true });
    try {
      await context.rootfs.flatten(context.snapshots.folderOf(origin), layers, aside, signal);
      await shrinkImage(aside, signal);
      await rename(aside, image);
    } finally {
      await rm(aside, { force: true });
    }
    await syncFolder(context.files.images);
    const [bytes, { size }] = [await allocatedBytes(image), await stat(image)];
    return create(FlattenRootfsResponseSchema, { bytes: BigInt(bytes), sizeBytes: BigInt(size) });
  } finally {
    await context.snapshots.delete(id);
  }
}
