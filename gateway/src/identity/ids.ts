import { randomInt } from 'node:crypto';

/** Prefixes of ids (spec §0); sandboxes have a shape of their own. */
export type IdPrefix = 'usr' | 'team' | 'key' | 'host' | 'tpl' | 'bld' | 'log' | 'ses';

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';
/** 36^20: more than 100 bits of chance. */
const LENGTH = 20;

/** `usr-` + 20 random base-36 characters. */
export function newId(prefix: IdPrefix): string {
  return `${prefix}-${Array.from({ length: LENGTH }, () => ALPHABET[randomInt(36)]).join('')}`;
}

/** The all-zeros team whose templates every team sees. It has no members. */
export const PLATFORM_TEAM_ID = '00000000-0000-0000-0000-000000000000';

/** A well-formed id of this kind; a malformed one is 400, a foreign one 404. */
export function idPattern(prefix: IdPrefix): RegExp {
  return prefix === 'team' ? /^(team-[a-z0-9]{1,40}|[0-]{36})$/ : new RegExp(`^${prefix}-[a-z0-9]{1,40}$`);
}
