import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import type { Page, WebSocketRoute } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { controlPlaneEnv } from '../scripts/dev/services.ts';
import { call, createSandbox } from './testing/api.ts';
import { hasBrowser, newPage, signIn } from './testing/browser.ts';
import { type Console, openConsole } from './testing/console.ts';
import { vmmOf } from './testing/host-state.ts';
import { holdService, killService } from './testing/processes.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt } from './testing/stack.ts';

/** A boot under emulation on a busy machine. */
const BOOT_MS = 90_000;
const DAY_MS = 86_400_000;

/** What a person does in the console, in a real browser with a real capsule (CON1, CON2, CON3, API11, MET2). */
describe.runIf(isBuilt && hasBrowser)('the console', () => {
  let { stack, api, browser, context, page, complaints } = {} as Console;
  let id = '';

  beforeAll(async () => {
    ({ stack, api, browser, context, page, complaints } = await openConsole());
  });
  afterAll(async () => {
    await browser?.close();
    if (id) await api('DELETE', `/v1/sandboxes/${id}`);
  });

  const active = (state: string, on: Page = page) => on.locator(`.state.active[data-state="${state}"]`);
  const tab = (name: string) => page.getByRole('tab', { name }).click();
  const seen = (text: string | RegExp, on: Page = page) => on.getByText(text).first().waitFor();

  test('CON1: `/` leads to the sign-in, a wrong password is said in words, the printed account comes in', async () => {
    await page.goto(stack.url);
    await page.waitForURL('**/login');
    await page.getByLabel('E-mail').fill('admin@wrenn.local');
    await page.getByLabel('Password').fill('not the password');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').waitFor();
    await signIn(page, stack);
    await page.waitForURL(`${stack.url}/dashboard/capsules/list`);
  });

  test('CON1: somebody new signs up and has an empty list of their own', async () => {
    const { context: own, page: other } = await newPage(browser);
    onTestFinished(() => own.close());
    await other.goto(`${stack.url}/signup`);
    await other.getByLabel('Your name').fill('Ana');
    await other.getByLabel('E-mail').fill(`ana-${Date.now()}@example.org`);
    await other.getByLabel('Password').fill('long enough');
    await other.getByRole('button', { name: 'Sign up' }).click();
    await other.waitForURL('**/dashboard/capsules/list');
    await seen('No capsule yet', other);
  });

  test('CON2: a capsule is created, and its statechart lights up state by state while it boots', async () => {
    // It may start faster than a page can be opened.
    const goOn = holdService(stack.settings, 'agent');
    onTestFinished(goOn);
    await page.getByRole('button', { name: 'Create capsule' }).click();
    await page.getByLabel('Labels').fill('env=test');
    await page.getByLabel('Idle time').fill('3600');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.waitForURL(/capsules\/sb[a-z0-9]{20}$/);
    id = page.url().split('/').at(-1) ?? '';
    await active('starting').waitFor();
    goOn();
    await active('running').waitFor({ timeout: BOOT_MS });
    await active('running.operation.none').waitFor();
    await page.locator('.way.taken').first().waitFor({ state: 'attached' });
    await active('starting').waitFor({ state: 'detached' });
  });

  test('CON2: the pending deadline counts down on the chart', async () => {
    const chip = page.locator('.timer .left');
    const before = await chip.textContent();
    await expect.poll(() => chip.textContent()).not.toBe(before);
  });

  test('CON2: a greyed command says why', async () => {
    await seen('It is running already. There is nothing to resume.');
    await page.getByRole('button', { name: 'Resume', exact: true, disabled: true }).waitFor();
  });

  test('CON2: a click on a legal event pauses it, another one resumes it', { timeout: 180_000 }, async () => {
    await page.getByRole('button', { name: 'Pause', exact: true }).click();
    await active('paused').waitFor({ timeout: BOOT_MS });
    expect((await api('GET', `/v1/sandboxes/${id}`)).body.status).toBe('paused');
    await page.getByRole('button', { name: 'Resume', exact: true }).click();
    await active('running').waitFor({ timeout: BOOT_MS });
  });

  test('CON2: the journal is scrubbed back and forth; the context diff and who caused it are shown', async () => {
    await page.getByRole('button', { name: /^1 CREATE/ }).click();
    await active('placing').waitFor();
    await seen('user admin@wrenn.local');
    await seen('The beginning: the whole context is new.');
    await page.keyboard.press(']');
    await active('starting').waitFor();
    await seen('result of sandbox.place');
    const changes = page.getByRole('list', { name: 'Changes' });
    await expect.poll(() => changes.textContent()).toMatch(/status.*pending.*starting/);
    await page.keyboard.press('[');
    await active('placing').waitFor();
    await page.keyboard.press('l');
    await active('running').waitFor();
    await page.waitForURL((url) => !url.searchParams.has('at'));
  });

  test('CON2: a link leads to one moment of its life', async () => {
    const other = await context.newPage();
    onTestFinished(() => other.close());
    await other.goto(`${stack.url}/dashboard/capsules/${id}?at=2`);
    await active('starting', other).waitFor();
    await seen('Revision 2', other);
  });

  test('CON2: the chart pans and zooms by keys, and reads as a nested list', async () => {
    const place = () => page.locator('.viewport > svg > g').getAttribute('transform');
    await page.locator('.viewport').focus();
    await page.keyboard.press('0');
    const fitted = await place();
    await page.keyboard.press('+');
    await expect.poll(place).not.toBe(fitted);
    const zoomed = await place();
    await page.keyboard.press('ArrowLeft');
    await expect.poll(place).not.toBe(zoomed);
    await page.keyboard.press('0');
    await expect.poll(place).toBe(fitted);
    await page.getByRole('button', { name: 'List', exact: true }).click();
    const outline = page.getByRole('navigation', { name: 'States of sandbox' });
    await outline.getByRole('button', { name: /^running at rest.*active now/ }).waitFor();
    expect(await outline.locator('li li').count()).toBeGreaterThan(5);
    await page.getByRole('button', { name: 'Chart', exact: true }).click();
  });

  test('CON2: capsule, VM and host stand beside each other, with their messages and latencies', async () => {
    await tab('Messages');
    await active('ready').waitFor();
    await page.locator('.mini .state.active[data-state="active"]').waitFor();
    await expect
      .poll(() => page.locator('.message text').allTextContents())
      .toContainEqual(expect.stringMatching(/ms|s$/));
    // The journals of both its VMs are there: what is first stays first.
    await expect.poll(() => page.getByRole('button', { name: /CREATE → (queued|preparing)/ }).count()).toBe(2);
    const lines = { name: /GUEST_READY|ADMITTED/ };
    await page.getByRole('button', lines).first().click();
    await page.getByRole('button', { ...lines, pressed: true }).waitFor();
    await active('starting').waitFor(); // the capsule then
    await tab('State');
  });

  test('API2: a terminal comes back to the same shell after its connection was lost', async () => {
    const sockets: WebSocketRoute[] = [];
    await page.routeWebSocket(/\/pty$/, (socket) => {
      socket.connectToServer();
      sockets.push(socket);
    });
    await tab('Terminal');
    await seen('Connected');
    const screen = page.locator('.xterm-rows');
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.type('KEPT=forty-$((6*7)); echo shell-$KEPT\n');
    await expect.poll(() => screen.textContent()).toContain('shell-forty-42');
    await sockets[0]?.close({ code: 1012, reason: 'a proxy went away' });
    await expect.poll(() => sockets.length).toBe(2);
    await seen('Connected');
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.type('clear; echo again-$KEPT\n');
    await expect.poll(() => screen.textContent()).toContain('again-forty-42');
  });

  test('API3: files are uploaded, browsed, edited, downloaded and removed', async () => {
    await tab('Files');
    await page
      .getByLabel('Upload')
      .setInputFiles({ name: 'note.txt', mimeType: 'text/plain', buffer: Buffer.from('one\n') });
    await page.getByRole('button', { name: 'note.txt', exact: true }).click();
    const text = page.getByLabel(/Text of/);
    await expect.poll(() => text.inputValue()).toBe('one\n');
    await text.fill('one\ntwo\n');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByRole('button', { name: 'Saved' }).waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download note.txt' }).click(),
    ]);
    expect(await readFile(await download.path(), 'utf8')).toBe('one\ntwo\n');
    await page.getByRole('button', { name: 'Close' }).click();
    await page.getByRole('button', { name: 'Remove note.txt' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await expect.poll(() => page.getByRole('button', { name: 'note.txt', exact: true }).count()).toBe(0);
    await page.getByRole('navigation', { name: 'Folder' }).getByRole('button', { name: '/', exact: true }).click();
    await page.getByRole('button', { name: /etc\/$/ }).click();
    await page.getByRole('button', { name: 'hostname', exact: true }).waitFor();
  });

  test('MET2: CPU and memory move while it runs', async () => {
    await tab('Metrics');
    await seen('live, every half second');
    await expect.poll(() => page.locator('.uplot canvas').count()).toBe(3);
    const script = 'timeout 6 sh -c "while :; do :; done"; true';
    const burning = api('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'sh', args: ['-c', script] });
    const cpu = page.getByRole('region', { name: 'CPU' }).locator('b');
    await expect.poll(async () => Number.parseFloat((await cpu.textContent()) ?? '')).toBeGreaterThan(20);
    await burning;
    await seen(/MB of \d+ MB/);
  });

  test('API11: a lost feed is seen, comes back by itself, and misses nothing', async () => {
    const sockets: WebSocketRoute[] = [];
    let away = false;
    await page.routeWebSocket(/\/actors\/feed/, async (socket) => {
      sockets.push(socket);
      if (away) await socket.close({ code: 1012 });
      else socket.connectToServer();
    });
    await page.goto(`${stack.url}/dashboard/capsules/${id}`);
    await active('running').waitFor();
    await page.getByRole('status').getByText('Live').waitFor();
    away = true;
    const before = sockets.length;
    await sockets.at(-1)?.close({ code: 1012 });
    await page.getByRole('alert').getByText('Connection to the control plane lost').waitFor();
    await api('PATCH', `/v1/sandboxes/${id}`, { labels: { env: 'meanwhile' } });
    const attempts = sockets.length;
    await page.getByRole('button', { name: 'Try now' }).click();
    await expect.poll(() => sockets.length).toBeGreaterThan(attempts);
    away = false;
    await page.getByRole('status').getByText('Live').waitFor();
    await seen(/env=meanwhile/);
    expect(new URL(sockets[before]?.url() ?? '').searchParams.get('cursor')).toMatch(/^\d/);
  });

  test('CON2: the whole fleet is a heat map; a state tells who is in it and for how long', async () => {
    await page.goto(`${stack.url}/dashboard/fleet`);
    await expect.poll(() => page.locator('[data-state="running"] .count').textContent()).toMatch(/^[1-9]/);
    await page.locator('[data-state="running"] .name').click();
    const row = page.getByRole('region', { name: 'In running' }).getByRole('row').filter({ hasText: id });
    await expect.poll(() => row.locator('time').textContent()).toMatch(/\d+ [smh]/);
    await page.waitForURL(/state=running/);
    await row.getByRole('link').click();
    await page.waitForURL(`**/dashboard/capsules/${id}`);
  });

  test('API11: a journal is exported and opened by somebody who is not signed in, with its machine', async () => {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Export journal' }).click(),
    ]);
    const { context: own, page: other } = await newPage(browser);
    onTestFinished(() => own.close());
    await other.goto(`${stack.url}/dashboard/open`);
    await other.getByLabel('Choose a file').setInputFiles(await download.path());
    await other.locator('.state.active').first().waitFor();
    await other.getByRole('button', { name: /^1 CREATE/ }).click();
    await active('placing', other).waitFor();
    expect(await other.getByRole('list', { name: 'Commands' }).count()).toBe(0);
  });

  test('CON3: `/` filters, `:` goes, `?` helps', async () => {
    await page.goto(`${stack.url}/dashboard/capsules/list`);
    await page.getByRole('link', { name: id }).waitFor();
    await page.keyboard.press('/');
    await page.locator('[data-filter]:focus').waitFor();
    await page.keyboard.type('no such capsule');
    await seen('Nothing matches');
    await page.keyboard.press('Control+A');
    await page.keyboard.type('env=meanwhile');
    await page.getByRole('link', { name: id }).waitFor();
    await page.locator('h1').click();
    await page.keyboard.press('?');
    await seen('Keys and signs');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.keyboard.press(':');
    await page.getByLabel('Where to').fill(id);
    await page.keyboard.press('Enter');
    await page.waitForURL(`**/dashboard/capsules/${id}`);
  });

  test('ID3: a key is shown once, works, and is ended', async () => {
    await page.goto(`${stack.url}/dashboard/keys`);
    await page.getByRole('button', { name: 'Make a key' }).click();
    await page.getByLabel('Name').fill('of the browser test');
    await page.getByRole('button', { name: 'Make it' }).click();
    const key = (await page.locator('.secret code').textContent()) ?? '';
    expect(key).toMatch(/^wrn_[0-9a-f]{32}$/);
    const list = () => call(stack.url, 'GET', '/v1/sandboxes', undefined, { 'x-api-key': key });
    expect((await list()).status).toBe(200);
    await page.getByRole('button', { name: 'I have it' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.reload();
    await page.getByRole('button', { name: 'End of the browser test' }).waitFor();
    expect(await page.content()).not.toContain(key);
    await page.getByRole('button', { name: 'End of the browser test' }).click();
    await page.getByRole('button', { name: 'End it' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'End of the browser test' }).waitFor({ state: 'detached' });
    expect((await list()).status).toBe(401);
  });

  test('SN9: a snapshot is taken from the chart, and a capsule created from it', { timeout: 180_000 }, async () => {
    await page.goto(`${stack.url}/dashboard/capsules/${id}`);
    await page.getByRole('button', { name: 'Snapshot', exact: true }).click();
    await page.getByLabel('Name').fill('from-the-console');
    await page.getByRole('dialog').getByRole('button', { name: 'Snapshot' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached', timeout: BOOT_MS });
    await page.goto(`${stack.url}/dashboard/snapshots`);
    const row = page.getByRole('row').filter({ hasText: 'from-the-console' });
    await row.getByRole('button', { name: 'Create capsule' }).click();
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.waitForURL(/capsules\/sb[a-z0-9]{20}$/);
    const child = page.url().split('/').at(-1) ?? '';
    onTestFinished(() => api('DELETE', `/v1/sandboxes/${child}`).then(() => undefined));
    await active('running').waitFor({ timeout: BOOT_MS });
    await page.goto(`${stack.url}/dashboard/snapshots`);
    await page.getByRole('button', { name: 'Delete from-the-console' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
    await row.waitFor({ state: 'detached' });
  });

  test('CON2: an open effect shows attempts and last error; the stuck one is found, its effect given up', {
    timeout: 180_000,
  }, async () => {
    const victim = await createSandbox(api);
    await page.goto(`${stack.url}/dashboard/capsules/${victim}`);
    await active('running').waitFor();
    await killService(stack.settings, 'agent');
    process.kill(vmmOf(stack.settings, victim), 'SIGKILL'); // whoever gives up says that nothing of it lives, and so it is
    await page.getByRole('button', { name: 'Destroy', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Destroy' }).click();
    const effects = page.getByRole('list', { name: 'Open effects' });
    await effects.getByText('vm.destroy').waitFor();
    await expect
      .poll(() => effects.textContent(), { timeout: BOOT_MS })
      .toMatch(/[1-9]\d* attempts?.*next try in.*(unreachable|refused|fetch|connect)/is);
    const attempts = async () => Number(/(\d+) attempts?/.exec((await effects.textContent()) ?? '')?.[1]);
    const tried = await attempts();
    const [answer] = await Promise.all([
      page.waitForResponse(/\/effects\/\d+\/retry$/),
      effects.getByRole('button', { name: 'Try now' }).click(),
    ]);
    expect(answer.ok()).toBe(true);
    await expect.poll(attempts).toBeGreaterThan(tried);
    await page.goto(`${stack.url}/dashboard/fleet`);
    const stuck = page.getByRole('region', { name: 'Stuck' });
    await expect
      .poll(async () => {
        await setDeadlines(victim, Date.now() - DAY_MS);
        const looked = page.waitForResponse(/\/v1\/actors\?.*stuck=true/);
        await stuck.getByRole('button', { name: 'Look again' }).click();
        const { items } = await (await looked).json();
        await setDeadlines(victim, Date.now() + DAY_MS);
        return items.map((item: { id: string }) => item.id);
      })
      .toContain(victim);
    await stuck.getByRole('link', { name: victim }).click();
    await effects.getByRole('button', { name: 'Give up' }).click();
    await page
      .getByRole('dialog', { name: /Give up/ })
      .getByRole('button', { name: 'Give up' })
      .click();
    await active('stopped').waitFor();
    await seen('user admin@wrenn.local');
    stack = await sharedStack(); // the agent again
  });

  /**
   * Nothing of ours gets stuck, so the clock of its deadline is put back where it is kept. The control plane looks there
   * twice a minute: it may find it due before the page asks who is stuck, and then it is not.
   */
  async function setDeadlines(sandbox: string, at: number): Promise<void> {
    const client = new Client({ connectionString: controlPlaneEnv(stack.settings).WRENN_DATABASE_URL });
    await client.connect();
    await client.query('update actor_timers set due_at = $2 where id = $1', [sandbox, at]);
    await client.end();
  }

  test('nothing was complained of on the way', () => {
    expect(complaints).toEqual([]);
  });
});
