import { Readable } from 'node:stream';
import { create } from '@bufbuild/protobuf';
import {
  type ReadFileRequest,
  type ReadFileResponse,
  ReadFileResponseSchema,
  type ReadFileStreamResponse,
  ReadFileStreamResponseSchema,
  type WriteFileRequest,
  type WriteFileResponse,
  WriteFileResponseSchema,
  type WriteFileStreamRequest,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { LiveVm } from '../live-vms.ts';
import { checkSandboxId } from './command.ts';
import { requireReady, type ServiceContext } from './context.ts';
import { failure } from './failure.ts';

/** A file in one piece is held in memory by three programs; larger ones are for the streams. */
const MAX_FILE_BYTES = 64 << 20;

interface FileCall {
  readonly sandboxId: string;
  readonly incarnation: number;
  readonly path: string;
}

export async function writeFile(
  context: ServiceContext,
  request: WriteFileRequest,
  signal: AbortSignal,
): Promise<WriteFileResponse> {
  return withVm(context, request, async (vm) => {
    await vm.guest.writeFile(request.path, request.user, request.data, signal);
    return create(WriteFileResponseSchema, { bytes: BigInt(request.data.length) });
  });
}

/** The first message says where to, the others are the content. */
export async function writeFileStream(
  context: ServiceContext,
  parts: AsyncIterable<WriteFileStreamRequest>,
  signal: AbortSignal,
): Promise<WriteFileResponse> {
  const messages = parts[Symbol.asyncIterator]();
  const first = await messages.next();
  const start = first.done ? undefined : first.value.part;
  if (start?.case !== 'start') throw failure('bad_request', 'the first message must be `start`');
  let bytes = 0n;
  async function* content(): AsyncGenerator<Uint8Array> {
    for (let next = await messages.next(); !next.done; next = await messages.next()) {
      if (next.value.part.case !== 'data') throw failure('bad_request', 'only `data` may follow `start`');
      bytes += BigInt(next.value.part.value.length);
      yield next.value.part.value;
    }
  }
  const { path, user } = start.value;
  return withVm(context, start.value, async (vm) => {
    await vm.guest.writeFile(path, user, Readable.from(content(), { objectMode: false }), signal);
    return create(WriteFileResponseSchema, { bytes });
  });
}

export async function readFile(
  context: ServiceContext,
  request: ReadFileRequest,
  signal: AbortSignal,
): Promise<ReadFileResponse> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const { data } of readFileStream(context, request, signal)) {
    size += data.length;
    if (size > MAX_FILE_BYTES) {
      throw failure('payload_too_large', `the file is larger than ${MAX_FILE_BYTES} bytes: stream it`);
    }
    chunks.push(data);
  }
  return create(ReadFileResponseSchema, { data: Buffer.concat(chunks) });
}

export async function* readFileStream(
  context: ServiceContext,
  request: ReadFileRequest,
  signal: AbortSignal,
): AsyncGenerator<ReadFileStreamResponse> {
  const vm = vmOf(context, request);
  const release = context.activity.hold(vm.sandboxId);
  try {
    for await (const chunk of await vm.guest.readFile(request.path, request.user, signal)) {
      yield create(ReadFileStreamResponseSchema, { data: chunk });
    }
  } finally {
    release();
  }
}

async function withVm<Result>(
  context: ServiceContext,
  call: FileCall,
  work: (vm: LiveVm) => Promise<Result>,
): Promise<Result> {
  const vm = vmOf(context, call);
  const release = context.activity.hold(vm.sandboxId);
  try {
    return await work(vm);
  } finally {
    release();
  }
}

function vmOf(context: ServiceContext, { sandboxId, incarnation, path }: FileCall): LiveVm {
  if (path === '') throw failure('bad_request', 'path is missing');
  return requireReady(context, checkSandboxId(sandboxId), incarnation);
}
