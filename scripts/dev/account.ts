import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { ApiError, apiClient } from './api.ts';
import { apiUrl, type StackSettings } from './settings.ts';

/** The first account of the stack (platform admin) and a key of its team: what `dev.env` holds. */
export interface DevAccount {
  email: string;
  password: string;
  apiKey: string;
  /** A session's token, for what a key may not do. */
  token: string;
}

const EMAIL = 'admin@wrenn.local';

export function devEnvFile(settings: StackSettings): string {
  return join(settings.dir, 'dev.env');
}

/** Signs in with the account of `dev.env`, or makes the account and its key and writes the file. */
export async function ensureAccount(settings: StackSettings): Promise<DevAccount> {
  const known = readDevEnv(settings);
  const email = known.WRENN_EMAIL ?? EMAIL;
  const password = known.WRENN_PASSWORD ?? randomBytes(12).toString('base64url');
  const token = await signIn(settings, email, password, known.WRENN_PASSWORD !== undefined);
  const key = known.WRENN_API_KEY;
  const apiKey = key && (await keyWorks(settings, key)) ? key : await makeKey(settings, token);
  writeDevEnv(settings, { email, password, apiKey });
  return { email, password, apiKey, token };
}

/** What an earlier start wrote; empty when there is none. */
export function readDevEnv(settings: StackSettings): NodeJS.Dict<string> {
  const file = devEnvFile(settings);
  return existsSync(file) ? parseEnv(readFileSync(file, 'utf8')) : {};
}

async function signIn(settings: StackSettings, email: string, password: string, known: boolean): Promise<string> {
  const api = apiClient(apiUrl(settings), undefined);
  if (known) {
    try {
      return (await api.call<{ token: string }>('POST', '/v1/auth/login', { email, password })).token;
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401)) throw error; // an emptied database: sign up again
    }
  }
  try {
    return (await api.call<{ token: string }>('POST', '/v1/auth/signup', { email, password, name: 'Admin' })).token;
  } catch (cause) {
    if (!(cause instanceof ApiError && cause.status === 409)) throw cause;
    throw new Error(`the account ${email} exists, but ${devEnvFile(settings)} does not hold its password`, { cause });
  }
}

async function keyWorks(settings: StackSettings, key: string): Promise<boolean> {
  try {
    await apiClient(apiUrl(settings), { key }).call('GET', '/v1/sandboxes?limit=1');
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false;
    throw error;
  }
}

async function makeKey(settings: StackSettings, token: string): Promise<string> {
  const api = apiClient(apiUrl(settings), { token });
  return (await api.call<{ key: string }>('POST', '/v1/api-keys', { name: 'make up' })).key;
}

function writeDevEnv(settings: StackSettings, account: Omit<DevAccount, 'token'>): void {
  const lines = {
    WRENN_API_URL: apiUrl(settings),
    WRENN_API_KEY: account.apiKey,
    WRENN_EMAIL: account.email,
    WRENN_PASSWORD: account.password,
    WRENN_DOMAIN: settings.domain,
  };
  const text = Object.entries(lines).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(devEnvFile(settings), text.join(''), { mode: 0o600 });
}
