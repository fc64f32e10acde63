import type { Locator, Page, WebSocket } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { call, createSandbox } from './testing/api.ts';
import { hasBrowser, newPage, signIn } from './testing/browser.ts';
import { type Console, openConsole } from './testing/console.ts';
import { isBuilt } from './testing/stack.ts';

/** A pause, a resume or a snapshot on a busy machine. */
const WORK_MS = 90_000;

/** What every page owes to whoever uses it: numbers, words, keys, room, and nothing lost by a slip. */
describe.runIf(isBuilt && hasBrowser)('pages of the console', () => {
  let { stack, api, browser, context, page, complaints } = {} as Console;
  let id = '';

  beforeAll(async () => {
    ({ stack, api, browser, context, page, complaints } = await openConsole());
    id = await createSandbox(api, { timeout_sec: 3_600, labels: { app: 'pages' } });
    await signIn(page, stack);
  }, WORK_MS);
  afterAll(async () => {
    await browser?.close();
    if (id) await api('DELETE', `/v1/sandboxes/${id}`);
  });

  const visit = (path: string, on: Page = page) => on.goto(stack.url + path);
  const capsule = (query = '') => `/dashboard/capsules/${id}${query}`;
  const dialog = () => page.getByRole('dialog');
  const styleOf = (locator: Locator, name: string): Promise<string> =>
    locator.evaluate((element, property) => {
      const { getComputedStyle } = globalThis as unknown as { getComputedStyle(of: unknown): Record<string, string> };
      return getComputedStyle(element)[property] ?? '';
    }, name);
  const textOf = (locator: Locator) => locator.textContent();
  const dialogGone = () => dialog().waitFor({ state: 'detached' });

  test('CON1: the numbers of the team: four cards, two charts, the range in the address, what runs over both pages', async () => {
    await visit('/dashboard/capsules/list');
    const badge = page.getByTitle('Running now');
    await expect.poll(() => textOf(badge)).toMatch(/^[1-9]\d* running$/);
    const running = await textOf(badge);
    await page.getByRole('link', { name: 'Stats' }).click();
    await page.waitForURL('**/dashboard/capsules/stats');
    await expect.poll(() => textOf(badge)).toBe(running);
    const cards = page.getByRole('list', { name: 'Now' }).getByRole('listitem');
    await expect.poll(() => cards.allTextContents()).toHaveLength(4);
    await expect.poll(async () => `${await textOf(cards.first().locator('b'))} running`).toBe(running);
    await page.locator('.uplot canvas').nth(1).waitFor();
    await page.getByRole('button', { name: '24h' }).click();
    await page.waitForURL((url) => url.searchParams.get('range') === '24h');
    await page.getByRole('img', { name: 'Running capsules over the last 24h' }).waitFor();
  });

  test('CON1: what runs is counted anew when a capsule pauses; its labels change in the list', {
    timeout: 2 * WORK_MS,
  }, async () => {
    await visit('/dashboard/capsules/list');
    const badge = page.getByTitle('Running now');
    await expect.poll(() => textOf(badge)).toMatch(/^[1-9]/);
    const before = Number.parseInt((await textOf(badge)) ?? '', 10);
    const row = page.getByRole('row').filter({ hasText: id });
    await row.getByText('app=pages').waitFor();
    await api('PATCH', `/v1/sandboxes/${id}`, { labels: { app: 'relabelled' } });
    await row.getByText('app=relabelled').waitFor();
    await api('POST', `/v1/sandboxes/${id}/pause`);
    await row.getByText('paused').waitFor();
    await expect.poll(() => textOf(badge)).toBe(`${before - 1} running`);
    await api('POST', `/v1/sandboxes/${id}/resume`);
    await expect.poll(() => textOf(badge)).toBe(`${before} running`);
    expect(await row.locator('time').first().getAttribute('title')).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$/);
  });

  test('CON3: nothing reaches over the edge of a narrow page', { timeout: 180_000 }, async () => {
    const narrow = await context.newPage();
    onTestFinished(() => narrow.close());
    await narrow.setViewportSize({ width: 400, height: 800 });
    const views: readonly (readonly [path: string, ready: string])[] = [
      ['/dashboard/capsules/list', 'tbody tr'],
      ['/dashboard/capsules/stats', '.uplot canvas'],
      [capsule(), '.state.active'],
      [capsule('?tab=messages'), '.message'],
      [capsule('?tab=terminal'), '.xterm-rows span'],
      [capsule('?tab=files&path=/etc&file=/etc/passwd'), 'textarea[aria-label^="Text"]'],
      [capsule('?tab=metrics'), '.uplot canvas'],
      ['/dashboard/fleet', '[data-state="running"] .count'],
      ['/dashboard/keys', 'tbody tr'],
      ['/dashboard/open', '.drop'],
    ];
    for (const [path, ready] of views) {
      await visit(path, narrow);
      await narrow.locator(ready).first().waitFor();
      await expect.poll(() => narrow.evaluate(OVER_THE_EDGE), { message: path }).toEqual([]);
    }
    await narrow.getByRole('button', { name: 'Sign out' }).waitFor(); // also here one comes out
  });

  test('CON3: a theme that is chosen is seen, also by the terminal, and stays', async () => {
    await visit(capsule('?tab=terminal'));
    const screen = page.locator('.xterm-scrollable-element');
    await page.getByText('Connected').waitFor();
    const colour = (locator: Locator) => styleOf(locator, 'backgroundColor');
    const side = page.getByRole('complementary', { name: 'Console' });
    for (const [theme, panel, ground] of [
      ['light', 'rgb(255, 255, 255)', 'rgb(255, 255, 255)'],
      ['dark', 'rgb(27, 32, 35)', 'rgb(20, 24, 26)'],
    ] as const) {
      await page.getByLabel('Theme').selectOption(theme);
      await expect.poll(() => colour(side)).toBe(panel);
      await expect.poll(() => colour(screen)).toBe(ground);
    }
    await page.reload();
    await expect.poll(() => colour(side)).toBe('rgb(27, 32, 35)');
    await page.getByLabel('Theme').selectOption('auto');
  });

  test('CON3: by keys alone: focus is seen, a dialog gives it back, tabs go by arrows, F6 leaves the terminal', async () => {
    await visit('/dashboard/capsules/list');
    const create = page.getByRole('button', { name: 'Create capsule' });
    await create.waitFor();
    const focused = () => page.evaluate('document.activeElement.textContent.trim()');
    for (let stops = 0; (await focused()) !== 'Create capsule'; stops++) {
      expect(stops).toBeLessThan(30);
      await page.keyboard.press('Tab');
    }
    await expect.poll(() => styleOf(create, 'outlineStyle')).toBe('solid');
    await page.keyboard.press('Enter');
    await dialog().waitFor();
    await page.keyboard.press('Escape');
    await dialogGone();
    await expect.poll(focused).toBe('Create capsule');
    await visit(capsule());
    await page.getByRole('tab', { name: 'State' }).focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => new URL(page.url()).searchParams.get('tab')).toBe('terminal');
    await page.getByText('Connected').waitFor();
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.press('Tab'); // the shell's
    await page.locator('.xterm-helper-textarea:focus').waitFor({ state: 'attached' });
    await page.keyboard.press('F6');
    await expect.poll(focused).toBe('End it');
  });

  test('API2: a shell goes on after a pause, and ends only when that is confirmed', {
    timeout: 2 * WORK_MS,
  }, async () => {
    await visit(capsule('?tab=terminal'));
    const screen = page.locator('.xterm-rows');
    await page.getByText('Connected').waitFor();
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.type('KEPT=$((40+2)); echo first-$KEPT\n');
    await expect.poll(() => screen.textContent()).toContain('first-42');
    await api('POST', `/v1/sandboxes/${id}/pause`);
    await page.getByText('Its shell goes on when it is resumed').waitFor();
    await api('POST', `/v1/sandboxes/${id}/resume`);
    await page.getByText('Connected').waitFor();
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.type('echo second-$KEPT\n');
    await expect.poll(() => screen.textContent()).toContain('second-42');
    await page.getByRole('button', { name: 'End it' }).click();
    await dialog().getByRole('button', { name: 'Keep it' }).click();
    await dialogGone();
    await page.getByText('Connected').waitFor();
    await page.getByRole('button', { name: 'End it' }).click();
    await dialog().getByRole('button', { name: 'End it' }).click();
    await page.getByText('The shell has ended').waitFor();
    await page.getByRole('button', { name: 'Start a new shell' }).waitFor();
  });

  test('API3: a file is not replaced and a changed text not lost without a question', async () => {
    const upload = (content: string) =>
      page
        .getByLabel('Upload')
        .setInputFiles({ name: 'kept.txt', mimeType: 'text/plain', buffer: Buffer.from(content) });
    const stored = async () =>
      (await api('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'cat', args: ['/home/user/kept.txt'] })).body.stdout;
    await visit(capsule('?tab=files'));
    const entry = page.getByRole('button', { name: 'kept.txt', exact: true });
    await upload('one');
    await entry.waitFor();
    await upload('two');
    await dialog().getByRole('button', { name: 'Keep it' }).click();
    await dialogGone();
    expect(await stored()).toBe('one');
    await upload('two');
    await dialog().getByRole('button', { name: 'Replace' }).click();
    await dialogGone();
    await expect.poll(stored).toBe('two');
    await entry.click();
    const text = page.getByLabel(/Text of/);
    await expect.poll(() => text.inputValue()).toBe('two');
    await text.fill('three');
    await page.getByRole('tab', { name: 'State' }).click();
    await page.getByRole('tab', { name: 'Files' }).click();
    await expect.poll(() => text.inputValue()).toBe('three');
    await page.getByRole('button', { name: 'Close' }).click();
    await dialog().getByRole('button', { name: 'Close it' }).click();
    await text.waitFor({ state: 'detached' });
    expect(await stored()).toBe('two');
  });

  test('MET2: a chart says the value under the pointer, and when that was', async () => {
    await visit(capsule('?tab=metrics'));
    const cpu = page.getByRole('region', { name: 'CPU' });
    await page.getByText('live, every half second').waitFor();
    const plot = cpu.locator('.u-over');
    // Before the end, where it runs: a pause is a gap without a value. Until there is one the pointer comes again.
    const pointed = async () => {
      await page.mouse.move(0, 0);
      const { width = 0, height = 0 } = (await plot.boundingBox()) ?? {};
      await plot.hover({ position: { x: width - 3, y: height / 2 } });
      return { when: await textOf(cpu.locator('.when')), value: await textOf(cpu.locator('b')) };
    };
    await expect.poll(pointed).toEqual({
      when: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/),
      value: expect.stringMatching(/^[\d.]+ % of \d+ vCPU$/),
    });
  });

  test('API11: capsule, VMs and host are followed over one connection, which goes on where it was', async () => {
    const open = new Set<WebSocket>();
    const addresses: URL[] = [];
    const other = await context.newPage();
    onTestFinished(() => other.close());
    other.on('websocket', (socket) => {
      if (!socket.url().includes('/actors/feed')) return;
      addresses.push(new URL(socket.url()));
      open.add(socket);
      socket.on('close', () => open.delete(socket));
    });
    await visit(capsule(), other);
    await other.getByRole('status').getByText('Live').waitFor(); // it knows where it is from now on
    await other.getByRole('tab', { name: 'Messages' }).click();
    await other.locator('.mini .state.active[data-state="active"]').waitFor(); // the host
    await other.locator('.mini .state.active[data-state="ready"]').waitFor(); // the VM
    await expect.poll(() => addresses.at(-1)?.searchParams.get('id')).toMatch(new RegExp(`^${id},host-`));
    expect(addresses.at(-1)?.searchParams.get('cursor')).toMatch(/^\d/);
    await expect.poll(() => open.size).toBe(1);
  });

  test('CON2: of a long journal the end is read first, and what came before when somebody goes there', {
    timeout: 180_000,
  }, async () => {
    const PAGE = 500;
    for (let sent = 0; sent < PAGE + 20; sent += 10) {
      await Promise.all(Array.from({ length: 10 }, () => api('POST', `/v1/sandboxes/${id}/ping`)));
    }
    const other = await context.newPage();
    onTestFinished(() => other.close());
    await visit(capsule(), other);
    await other.getByLabel('Revision', { exact: true }).press('Home'); // the first of those that were read
    await other.getByRole('button', { name: /^… \d+ before$/ }).click();
    await other
      .getByRole('region', { name: /^Revision \d+$/ })
      .getByRole('heading', { name: /^Revision \d+:/ })
      .waitFor();
    await other.waitForURL((url) => Number(url.searchParams.get('at')) > 1);
    await visit(capsule('?at=2'), other);
    await other.locator('.state.active[data-state="starting"]').waitFor();
    await other.getByText('result of sandbox.place').waitFor();
    await other.keyboard.press('[');
    await other.getByText('The beginning: the whole context is new.').waitFor();
  });

  test('CON2: the chart is zoomed by the wheel and moved by dragging; its motion stands still for who wants that', async () => {
    await visit(capsule());
    await page.locator('.state.active[data-state="running"]').waitFor();
    const place = () => page.locator('.viewport > svg > g').getAttribute('transform');
    await expect.poll(place).not.toBe('translate(0 0) scale(1)'); // it knows its size
    const fitted = await place();
    const box = await page.locator('.viewport').boundingBox();
    if (!box) throw new Error('the chart is not seen');
    await page.mouse.move(box.x + 40, box.y + box.height - 20);
    await page.mouse.wheel(0, -200);
    await expect.poll(place).not.toBe(fitted);
    const zoomed = await place();
    await page.mouse.down();
    await page.mouse.move(box.x + 90, box.y + box.height - 60, { steps: 4 });
    await page.mouse.up();
    await expect.poll(place).not.toBe(zoomed);
    await page.getByRole('button', { name: 'Fit the chart' }).click();
    await expect.poll(place).toBe(fitted);
    await visit(capsule('?at=2')); // from placing to starting
    const pulse = page.locator('.pulse').first();
    await pulse.waitFor({ state: 'attached' });
    const motion = () => styleOf(pulse, 'animationName');
    await expect.poll(motion).toMatch(/run$/);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await expect.poll(motion).toBe('none');
    await page.emulateMedia({ reducedMotion: null });
  });

  test('SN9: a snapshot made elsewhere appears by itself', { timeout: 2 * WORK_MS }, async () => {
    await visit('/dashboard/snapshots');
    await page.getByRole('status').getByText('Live').waitFor();
    const name = 'made-elsewhere';
    onTestFinished(() => api('DELETE', `/v1/snapshots/${name}`).then(() => undefined));
    await api('POST', '/v1/snapshots', { sandbox_id: id, name });
    const row = page.getByRole('row').filter({ hasText: name });
    await row.waitFor();
    await page.keyboard.press('/');
    await page.locator('[data-filter]:focus').waitFor();
    await page.keyboard.type('nothing of this name');
    await page.getByText('Nothing matches').waitFor();
  });

  test('ID2: a session that was ended says so, and leads back', async () => {
    const { context: own, page: other } = await newPage(browser);
    onTestFinished(() => own.close());
    await signIn(other, stack);
    await visit(capsule('?tab=metrics'), other);
    await other.getByRole('tab', { name: 'Metrics' }).waitFor();
    const token = await other.evaluate(() => JSON.parse(localStorage.getItem('wrenn.session') ?? '{}').token);
    const ended = await call(stack.url, 'POST', '/v1/auth/logout', undefined, { authorization: `Bearer ${token}` });
    expect(ended.status).toBe(204);
    await other.reload();
    await other.getByText('Your session has ended').waitFor();
    await signIn(other, stack, new URL(other.url()).pathname + new URL(other.url()).search);
    await other.waitForURL(`**${capsule('?tab=metrics')}`);
  });

  test('nothing was complained of on the way', () => {
    expect(complaints).toEqual([]);
  });
});

/** Runs in the page: what cannot be reached because it is outside of the window, and in nothing that scrolls. */
const OVER_THE_EDGE = `(() => {
  const scrolls = (element) => {
    for (let up = element.parentElement; up; up = up.parentElement) {
      if (/auto|scroll|hidden/.test(getComputedStyle(up).overflowX) && up.scrollWidth > up.clientWidth) {
        return up.tagName !== 'MAIN';
      }
    }
    return false;
  };
  const over = [...document.querySelectorAll('main *, aside *')].filter((element) => {
    const { right, width } = element.getBoundingClientRect();
    return width > 0 && right > innerWidth + 1 && !element.closest('svg, .uplot, .xterm') && !scrolls(element);
  });
  const wide = document.documentElement.scrollWidth > innerWidth ? ['the page itself'] : [];
  return [...wide, ...over.map((element) => element.outerHTML.slice(0, 100))];
})()`;
