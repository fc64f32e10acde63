import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Api, apiOf, createSandbox } from './testing/api.ts';
import { hasBrowser, launchBrowser, newPage, signIn } from './testing/browser.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const BOOT_MS = 90_000;

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

/** CON3: axe finds nothing to object to, on every page, in both themes. */
describe.runIf(isBuilt && hasBrowser)('accessibility', () => {
  let stack: Stack;
  let api: Api;
  let browser: Browser;
  let id: string;
  let host: string;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    id = await createSandbox(api, { timeout_sec: 3_600, labels: { env: 'axe' } });
    await api('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'sh', args: ['-c', 'echo one > /home/user/note.txt'] });
    host = (await api('GET', `/v1/sandboxes/${id}`)).body.host_id;
    browser = await launchBrowser();
  }, BOOT_MS);
  afterAll(async () => {
    await browser?.close();
    if (id) await api('DELETE', `/v1/sandboxes/${id}`);
  });

  async function violations(page: Page): Promise<string[]> {
    await page.evaluate(AXE);
    const found = (await page.evaluate('axe.run({ resultTypes: ["violations"] })')) as { violations: Violation[] };
    return found.violations.flatMap(({ id: rule, nodes }) =>
      nodes.map(
        ({ html, failureSummary }) => `${rule}: ${html.slice(0, 160)} ${failureSummary.split('\n')[1]?.trim()}`,
      ),
    );
  }

  const capsule = (query: string) => `/dashboard/capsules/${id}${query}`;
  const VIEWS: readonly (readonly [
    name: string,
    path: () => string,
    ready: string,
    more?: (page: Page) => Promise<void>,
  ])[] = [
    ['list', () => '/dashboard/capsules/list', 'tbody tr'],
    ['stats', () => '/dashboard/capsules/stats', '.uplot canvas'],
    ['create', () => '/dashboard/capsules/list', 'tbody tr', (page) => open(page, 'Create capsule')],
    ['state', () => capsule(''), '.state.active'],
    ['revision', () => capsule('?at=2'), '.state.active'],
    ['outline', () => capsule('?view=list'), '.outline li'],
    ['confirmation', () => capsule(''), '.state.active', (page) => open(page, 'Destroy')],
    ['messages', () => capsule('?tab=messages'), '.message'],
    ['terminal', () => capsule('?tab=terminal'), '.xterm-rows span'],
    ['files', () => capsule('?tab=files&file=/home/user/note.txt'), 'textarea[aria-label^="Text"]'],
    ['metrics', () => capsule('?tab=metrics'), '.uplot canvas'],
    ['fleet', () => '/dashboard/fleet?state=running', 'tbody tr'],
    ['fleet as a list', () => '/dashboard/fleet?view=list', '.outline li'],
    ['host', () => `/dashboard/actors/host/${host}`, '.state.active'],
    ['keys', () => '/dashboard/keys', 'tbody tr'],
    ['snapshots', () => '/dashboard/snapshots', '.teach, tbody tr'],
    ['journal from a file', () => '/dashboard/open', '.drop'],
    ['help', () => '/dashboard/open', '.drop', (page) => press(page, '?')],
    ['go to', () => '/dashboard/open', '.drop', (page) => press(page, ':')],
  ];

  async function open(page: Page, button: string): Promise<void> {
    await page.getByRole('button', { name: button, exact: true }).click();
    await page.getByRole('dialog').waitFor();
  }
  async function press(page: Page, key: string): Promise<void> {
    await page.keyboard.press(key);
    await page.getByRole('dialog').waitFor();
  }

  test.each(['light', 'dark'] as const)('CON3: no violation in %s', { timeout: 180_000 }, async (colorScheme) => {
    const { page, context } = await newPage(browser, { colorScheme });
    await page.goto(`${stack.url}/login`);
    await page.getByLabel('E-mail').waitFor();
    const found: Record<string, string[]> = { login: await violations(page) };
    await page.goto(`${stack.url}/signup`);
    await page.getByLabel('Your name').waitFor();
    found.signup = await violations(page);
    await signIn(page, stack);
    for (const [name, path, ready, more] of VIEWS) {
      await page.goto(stack.url + path());
      await page.locator(ready).first().waitFor();
      await more?.(page);
      found[name] = await violations(page);
    }
    await context.close();
    expect(Object.entries(found).flatMap(([name, list]) => list.map((text) => `${name}: ${text}`))).toEqual([]);
  });
});
