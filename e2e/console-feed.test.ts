import type { Browser, BrowserContext, CDPSession, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { complaintsOf, hasBrowser, launchBrowser, VIEWPORT } from './testing/browser.ts';
import { type FeedReplay, replayFeed } from './testing/feed-replay.ts';

const ACTORS = 10_000;
const PER_SECOND = 1_000;
const SECONDS = 20;
/** Until everything is compiled and every list has its size. */
const WARM_UP_SECONDS = 4;

/** The bars of the console under load. */
const MAIN_THREAD_SHARE = 0.5;
/** Noise of the collector; 20,000 entries kept would be more than ten times as much. */
const HEAP_NOISE_BYTES = 1_500_000;

/** The page's own world, as far as it is counted in. */
interface Frames {
  frames: number;
  requestAnimationFrame(callback: () => void): void;
}

/** Somebody signed in, for a server that asks nobody. */
async function asAdmin(context: BrowserContext): Promise<void> {
  const user = { email: 'admin@wrenn.local', name: 'Admin', id: 'usr-1', is_admin: true, created_at: '' };
  const team = { id: 'team-1', name: 'Team', role: 'owner', is_byoc: false, created_at: '' };
  const kept = { token: 'replay', expires_at: '2999-01-01T00:00:00Z', user, team };
  await context.addInitScript((text) => localStorage.setItem('wrenn.session', text), JSON.stringify(kept));
}

describe.runIf(hasBrowser)(`a feed of ${ACTORS} actors with ${PER_SECOND} transitions a second`, () => {
  let browser: Browser;
  let feed: FeedReplay;
  let page: Page;
  let cdp: CDPSession;
  let complaints: string[];

  beforeAll(async () => {
    feed = await replayFeed(ACTORS);
    browser = await launchBrowser(['--js-flags=--expose-gc']);
    const context = await browser.newContext({ viewport: VIEWPORT });
    await asAdmin(context);
    page = await context.newPage();
    complaints = complaintsOf(page);
    cdp = await context.newCDPSession(page);
    // Seconds of the thread, not of the clock: this machine does other things too.
    await cdp.send('Performance.enable', { timeDomain: 'threadTicks' });
  });
  afterAll(async () => {
    await browser?.close();
    await feed?.close();
  });

  async function metrics(): Promise<{ busy: number; heap: number }> {
    const { metrics: list } = await cdp.send('Performance.getMetrics');
    const value = (name: string) => list.find((metric) => metric.name === name)?.value ?? Number.NaN;
    return { busy: value('TaskDuration'), heap: value('JSHeapUsedSize') };
  }

  test('CON2: the heat map keeps up: its thread is idle most of the time, its heap stays, frames come', async () => {
    await page.goto(`${feed.url}/dashboard/fleet`);
    const total = page.getByRole('button', { name: /^Capsules/ });
    await expect.poll(() => total.textContent(), { timeout: 30_000 }).toContain('10,000');
    await page.locator('[data-state="running"] .name').click(); // the list beside it follows too
    await page.getByRole('region', { name: 'In running' }).waitFor();
    await feed.play(PER_SECOND, WARM_UP_SECONDS);
    await cdp.send('HeapProfiler.collectGarbage');
    const before = await metrics();
    await page.evaluate(() => {
      const world = globalThis as unknown as Frames;
      world.frames = 0;
      const next = () => {
        world.frames++;
        world.requestAnimationFrame(next);
      };
      world.requestAnimationFrame(next);
    });
    const began = performance.now();
    await feed.play(PER_SECOND, SECONDS);
    const seconds = (performance.now() - began) / 1_000;
    const after = await metrics();
    const frames = await page.evaluate(() => (globalThis as unknown as Frames).frames);
    await cdp.send('HeapProfiler.collectGarbage');
    const { heap } = await metrics();

    const share = (after.busy - before.busy) / seconds;
    const grown = heap - before.heap;
    console.log(
      `main thread ${(share * 100).toFixed(1)} %, heap ${(before.heap / 1e6).toFixed(1)} MB ${grown < 0 ? '−' : '+'} ${Math.abs(grown / 1e6).toFixed(2)} MB, ${(frames / seconds).toFixed(0)} frames a second`,
    );
    expect(share).toBeLessThan(MAIN_THREAD_SHARE);
    expect(grown).toBeLessThan(HEAP_NOISE_BYTES);
    // It showed what it was told: the members' states sum up to all of them.
    await expect.poll(() => total.textContent(), { timeout: 10_000 }).toContain('10,000');
    expect(feed.sent()).toBe(PER_SECOND * (SECONDS + WARM_UP_SECONDS));
    expect(complaints).toEqual([]);
  });
});

describe.runIf(hasBrowser)('a feed of more than 10,000 actors', () => {
  let browser: Browser;
  let feed: FeedReplay;
  beforeAll(async () => {
    feed = await replayFeed(25_000, 'counts');
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    await feed?.close();
  });

  test('API11: collapses to counts per state, which only changes are sent of', async () => {
    const row = { kind: 'sandbox', stuck: 0, oldest_since: '2026-01-01T00:00:00.000Z', median_dwell_ms: 90_000 };
    const running = 'running.idle.armed+running.lifetime.off+running.operation.none';
    feed.count(
      [
        { ...row, path: running, count: 24_000 },
        { ...row, path: 'stopping', count: 1_000, stuck: 3 },
      ],
      true,
    );
    const context = await browser.newContext({ viewport: VIEWPORT });
    await asAdmin(context);
    const page = await context.newPage();
    await page.goto(`${feed.url}/dashboard/fleet`);
    await page.getByText('More than 10,000').waitFor();
    const count = (state: string) => page.locator(`[data-state="${state}"] > .figures .count`).textContent();
    await expect.poll(() => count('running')).toBe('24,000');
    expect(await page.locator('[data-state="stopping"]').textContent()).toContain('3 stuck');
    feed.count(
      [
        { ...row, path: 'stopping', count: 0 },
        { ...row, path: running, count: 25_000 },
      ],
      false,
    );
    await expect.poll(() => count('running')).toBe('25,000');
    expect(await page.locator('[data-state="stopping"] .count').count()).toBe(0);
    await page.locator('[data-state="running"] > .name').click();
    await page.getByRole('region', { name: 'In running' }).getByRole('row').nth(1).waitFor(); // asked for, not followed
  });
});
