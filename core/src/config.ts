import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { z } from 'zod';

/** A setting is missing or has a value that cannot be used. The message names it and never shows its value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export interface LoadConfigOptions {
  /** Folder of `.env`. Default: the working directory. */
  readonly cwd?: string;
  /** Told of each `WRENN_*` name that the schema does not know. Default: stderr. */
  readonly warn?: (message: string) => void;
  /** Further `WRENN_*` names that other parts of the same program read. */
  readonly alsoKnown?: readonly string[];
}

/**
 * Settings of a program: `.env` of the working directory, overridden by the environment (spec §0).
 * A bad value throws `ConfigError`; an empty string counts as not set.
 */
export function parseConfig<Schema extends z.ZodObject>(
  schema: Schema,
  env: NodeJS.ProcessEnv = process.env,
  options: LoadConfigOptions = {},
): z.output<Schema> {
  const settings = { ...readEnvFile(options.cwd ?? process.cwd()), ...env };
  const known = new Set([...Object.keys(schema.shape), ...(options.alsoKnown ?? [])]);
  const warn = options.warn ?? ((message) => console.error(message));
  for (const name of Object.keys(settings)) {
    if (name.startsWith('WRENN_') && !known.has(name)) warn(`unknown setting ${name} is ignored`);
  }
  const given = Object.fromEntries(
    Object.keys(schema.shape).flatMap((name) => (settings[name] ? [[name, settings[name]]] : [])),
  );
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'settings'}: ${issue.message}`);
  throw new ConfigError(`bad settings: ${problems.join('; ')}`);
}

/** `parseConfig` for a program's start: a bad value ends the process with status 1 and a message that names it. */
export function loadConfig<Schema extends z.ZodObject>(
  schema: Schema,
  env: NodeJS.ProcessEnv = process.env,
  options: LoadConfigOptions = {},
): z.output<Schema> {
  try {
    return parseConfig(schema, env, options);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

/** `true|false|1|0|yes|no|on|off` as a boolean setting. */
export const booleanSetting = z.stringbool();

function readEnvFile(cwd: string): Record<string, string | undefined> {
  try {
    return parseEnv(readFileSync(join(cwd, '.env'), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new ConfigError(`.env cannot be read: ${(error as Error).message}`);
  }
}
