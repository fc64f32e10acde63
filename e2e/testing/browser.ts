import { existsSync } from 'node:fs';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { readDevEnv } from '../../scripts/dev/account.ts';
import type { Stack } from './stack.ts';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path));
/** Debian's package `chromium`; `make test` installs it. */
export const hasBrowser = CHROMIUM !== undefined;
if (!hasBrowser) console.log('console tests are skipped: no /usr/bin/chromium');

export const VIEWPORT = { width: 1440, height: 900 };

/** Whatever a page is asked for and needs no VM comes within this time, also on a busy machine. */
export const SOON_MS = 20_000;

export function launchBrowser(args: readonly string[] = []): Promise<Browser> {
  // Root has no user namespaces of its own to sandbox in; only our own pages are opened.
  return chromium.launch({ executablePath: CHROMIUM ?? '', args: ['--no-sandbox', '--disable-gpu', ...args] });
}

/** What a page complains about; a test ends with none. */
export function complaintsOf(page: Page, complaints: string[] = []): string[] {
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    // A refused request is told to the user by the page, and to the console by the browser.
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text())) {
      complaints.push(message.text());
    }
  });
  return complaints;
}

/** A browser gives up what it loads when the machine's network changes, and here VMs come and go: then once more. */
function visitTwice(page: Page): void {
  const [visit, reload] = [page.goto.bind(page), page.reload.bind(page)];
  page.goto = (...where) => visit(...where).catch(onceMore(() => visit(...where)));
  page.reload = (...how) => reload(...how).catch(onceMore(() => reload(...how)));
}

function onceMore<T>(again: () => Promise<T>): (error: Error) => Promise<T> {
  return (error) => {
    if (/ERR_NETWORK_CHANGED/.test(error.message)) return again();
    throw error;
  };
}

/** Signs in with the account that `make up` prints, and waits for the list. */
export async function signIn(page: Page, stack: Stack, path = '/'): Promise<void> {
  const { WRENN_EMAIL = '', WRENN_PASSWORD = '' } = readDevEnv(stack.settings);
  await page.goto(stack.url + path);
  await page.getByLabel('E-mail').fill(WRENN_EMAIL);
  await page.getByLabel('Password').fill(WRENN_PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(/\/dashboard\//);
}

/** A page, and the context for more of them; `complaints` are those of all. */
export async function newPage(
  browser: Browser,
  options: { readonly colorScheme?: 'light' | 'dark' } = {},
): Promise<{ context: BrowserContext; page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: VIEWPORT, acceptDownloads: true, ...options });
  context.setDefaultTimeout(SOON_MS);
  const complaints: string[] = [];
  context.on('page', (page) => {
    visitTwice(page);
    complaintsOf(page, complaints);
  });
  return { context, page: await context.newPage(), complaints };
}
