import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasBrowser, launchBrowser, VIEWPORT } from './testing/browser.ts';
import { asAdmin, measureFeedLoad } from './testing/feed-load.ts';
import { type FeedReplay, replayFeed } from './testing/feed-replay.ts';

const ACTORS = 10_000;
const PER_SECOND = 1_000;
const SECONDS = 20;

/** The bars of the console under load. */
const MAIN_THREAD_SHARE = 0.5;
/** Noise of the collector; 20,000 entries kept would be more than ten times as much. */
const HEAP_NOISE_BYTES = 1_500_000;

describe.runIf(hasBrowser)(`a feed of ${ACTORS} actors with ${PER_SECOND} transitions a second`, () => {
  test('CON2: the heat map keeps up: its thread is idle most of the time, its heap stays', async () => {
    const load = await measureFeedLoad(ACTORS, PER_SECOND, SECONDS);
    expect(load.mainThread).toBeLessThan(MAIN_THREAD_SHARE);
    expect(load.heapBytes.after - load.heapBytes.before).toBeLessThan(HEAP_NOISE_BYTES);
    expect(load.sent).toBe(PER_SECOND * SECONDS);
    expect(load.complaints).toEqual([]);
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
    await expect.poll(() => page.locator('[data-state="stopping"]').textContent()).toContain('3 stuck');
    feed.count(
      [
        { ...row, path: 'stopping', count: 0 },
        { ...row, path: running, count: 25_000 },
      ],
      false,
    );
    await expect.poll(() => count('running')).toBe('25,000');
    await page.locator('[data-state="stopping"] .count').waitFor({ state: 'detached' });
    await page.locator('[data-state="running"] > .name').click();
    await page.getByRole('region', { name: 'In running' }).getByRole('row').nth(1).waitFor(); // asked for, not followed
  });
});
