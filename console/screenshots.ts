import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { readDevEnv } from '../scripts/dev/account.ts';
import { stackSettings } from '../scripts/dev/settings.ts';

/**
 * `node console/screenshots.ts [folder of a running stack]`: takes the pictures of docs/console.md from the stack that
 * `make up` started. It makes its own capsules and destroys them.
 */
const OUT = join(import.meta.dirname, '../docs/console');
const VIEWPORT = { width: 1360, height: 850 };
const BOOT_MS = 120_000;

const folder = process.argv[2];
const settings = await stackSettings(undefined, folder && resolve(folder));
const account = readDevEnv(settings);
const url = account.WRENN_API_URL ?? '';

async function api(method: string, path: string, body?: object): Promise<{ id: string }> {
  const headers = { 'x-api-key': account.WRENN_API_KEY ?? '', 'content-type': 'application/json' };
  const response = await fetch(url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (response.status === 204 ? { id: '' } : await response.json()) as { id: string };
}

async function signedIn(browser: Browser, colorScheme: 'light' | 'dark'): Promise<Page> {
  const page = await browser.newPage({ viewport: VIEWPORT, colorScheme, reducedMotion: 'reduce' });
  await page.goto(url);
  await page.getByLabel('E-mail').fill(account.WRENN_EMAIL ?? '');
  await page.getByLabel('Password').fill(account.WRENN_PASSWORD ?? '');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(/dashboard/);
  return page;
}

mkdirSync(OUT, { recursive: true });
const made: string[] = [];
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
try {
  for (const labels of [{ app: 'shop' }, { app: 'search' }, { app: 'batch' }]) {
    made.push((await api('POST', '/v1/sandboxes', { timeout_sec: 1_800, labels })).id);
  }
  const [shop = '', , batch = ''] = made;
  await api('POST', `/v1/sandboxes/${batch}/pause`);
  const script =
    'mkdir -p app; printf "import http.server\\n\\nprint(\\"ready\\")\\n" > app/main.py; date > started.txt';
  await api('POST', `/v1/sandboxes/${shop}/exec`, { cmd: 'sh', args: ['-c', script] });

  const light = await signedIn(browser, 'light');
  const dark = await signedIn(browser, 'dark');
  const take = async (page: Page, name: string, path: string, ready: string, more?: () => Promise<unknown>) => {
    await page.goto(url + path);
    await page.locator(ready).first().waitFor({ timeout: BOOT_MS });
    await more?.();
    await page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))');
    await page.screenshot({ path: join(OUT, `${name}.png`) });
  };
  const capsule = `/dashboard/capsules/${shop}`;

  await take(light, 'capsules', '/dashboard/capsules/list', `tr:has-text("${shop}")`);
  await take(dark, 'stats', '/dashboard/capsules/stats?range=5m', '.uplot canvas >> nth=1');
  await take(light, 'state', capsule, '.state.active', () => light.locator('.timer').first().waitFor());
  await take(dark, 'time-travel', `${capsule}?at=3`, '.state.active', () =>
    dark.getByRole('heading', { name: 'Revision 3' }).waitFor(),
  );
  await take(light, 'messages', `${capsule}?tab=messages`, '.message text', () =>
    light.locator('.mini .state.active[data-state="active"]').waitFor(),
  );
  await take(dark, 'terminal', `${capsule}?tab=terminal`, '.xterm-rows span', async () => {
    await dark.getByText('Connected').waitFor();
    await dark.locator('.xterm-rows:has-text("$")').waitFor(); // the shell's prompt
    await dark.keyboard.type('uname -a; ls -la; free -m\n');
    await dark.locator('.xterm-rows:has-text("Swap:")').waitFor();
  });
  await take(light, 'files', `${capsule}?tab=files&path=/home/user/app&file=/home/user/app/main.py`, 'textarea', () =>
    light.locator('tbody tr').first().waitFor(),
  );
  await take(light, 'metrics', `${capsule}?tab=metrics`, '.uplot canvas', () =>
    light.getByText('live, every').waitFor(),
  );
  await take(dark, 'fleet', '/dashboard/fleet?state=running', `tr:has-text("${shop}")`);
  await take(light, 'list', `${capsule}?view=list`, '.outline li');
} finally {
  await browser.close();
  for (const id of made) await api('DELETE', `/v1/sandboxes/${id}?wait=false`).catch(() => undefined);
}
