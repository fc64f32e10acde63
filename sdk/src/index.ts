export type { CommandResult, Process, RunOptions } from './commands.ts';
export type { ConnectionOptions } from './connection.ts';
export {
  AuthenticationError,
  ConflictError,
  ConnectionError,
  DiskFullError,
  InvalidRequestError,
  NotFoundError,
  RateLimitError,
  UnavailableError,
  WrennError,
} from './errors.ts';
export type { FileContent, FileEntry, FileOptions } from './files.ts';
export {
  type ConnectOptions,
  type CreateOptions,
  type ForkError,
  type ListOptions,
  Sandbox,
  type SandboxInfo,
  type TemplateInfo,
} from './sandbox.ts';
