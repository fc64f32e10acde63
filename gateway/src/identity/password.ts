import { hash, verify } from '@node-rs/argon2';

/** Rows that have no password, and mails that are not there, cost the same work as a wrong password. */
const DUMMY_HASH = hash('a password that nobody has');

/** argon2id with the library's defaults (19 MiB, 2 passes): OWASP's first recommendation. */
export function hashPassword(password: string): Promise<string> {
  return hash(password);
}

/** Constant work whether or not there is something to compare with. */
export async function passwordMatches(stored: string | null, password: string): Promise<boolean> {
  const matches = await verify(stored ?? (await DUMMY_HASH), password);
  return matches && stored !== null;
}
