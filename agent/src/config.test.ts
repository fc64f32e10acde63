import { ConfigError, parseConfig } from '@wrenn/core';
import { expect, test } from 'vitest';
import { agentSettings, rootOf, warmPoolOf } from './config.ts';

const parse = (env: Record<string, string>) => parseConfig(agentSettings, env, { cwd: '/' });

test('defaults, and the older name of the root folder', () => {
  const settings = parse({});
  expect(settings).toMatchObject({
    WRENN_AGENT_LISTEN: '127.0.0.1:50051',
    WRENN_SLOTS: { first: 1, last: 9999 },
    WRENN_SLOT_POOL: 4,
    WRENN_VMM: 'auto',
    WRENN_WARM_POOL: new Map([['minimal', 1]]),
    WRENN_VMM_POOL: 2,
  });
  const { WRENN_WARM_POOL: pool } = parse({ WRENN_WARM_POOL: 'minimal=0, code-interpreter=2' });
  expect([...pool]).toEqual([
    ['minimal', 0],
    ['code-interpreter', 2],
  ]);
  expect(rootOf(settings)).toBe('/var/lib/wrenn');
  expect(rootOf(parse({ AGENT_FILES_ROOTDIR: '/a' }))).toBe('/a');
  expect(rootOf(parse({ AGENT_FILES_ROOTDIR: '/a', WRENN_DIR: '/b' }))).toBe('/b');
});

test('where teams share nothing no VM is made ahead of knowing its team', () => {
  expect(warmPoolOf(parse({})).get('minimal')).toBe(1);
  expect(warmPoolOf(parse({ WRENN_ISOLATE_TEMPLATES: '0' })).get('minimal')).toBe(1);
  expect(warmPoolOf(parse({ WRENN_ISOLATE_TEMPLATES: '1' })).size).toBe(0);
});

test.each([
  ['WRENN_SLOTS', '9-3'],
  ['WRENN_SLOTS', '0-5'],
  ['WRENN_SLOTS', '1-10000'],
  ['WRENN_AGENT_LISTEN', 'localhost'],
  ['WRENN_CP_URL', 'not a url'],
  ['WRENN_VMM', 'bochs'],
  ['WRENN_HOST_VCPUS', '0'],
  ['WRENN_WARM_POOL', '../x=1'],
  ['WRENN_WARM_POOL', 'minimal'],
  ['WRENN_VMM_POOL', '-1'],
  ['WRENN_ISOLATE_TEMPLATES', 'yes'],
])('a bad %s stops the start with a message that names it', (name, value) => {
  expect(() => parse({ [name]: value })).toThrow(ConfigError);
  expect(() => parse({ [name]: value })).toThrow(name);
});
