import type { BrowserContext, CDPSession } from 'playwright-core';
import { complaintsOf, launchBrowser, VIEWPORT } from './browser.ts';
import { replayFeed } from './feed-replay.ts';

/** Until everything is compiled and every list has its size. */
const WARM_UP_SECONDS = 4;

/** What a page did while the feed came. */
export interface FeedLoad {
  /** Share of its main thread's time, in seconds of that thread. */
  readonly mainThread: number;
  /** JavaScript heap after a collection, before and after. */
  readonly heapBytes: { readonly before: number; readonly after: number };
  readonly framesPerSecond: number;
  readonly sent: number;
  readonly complaints: readonly string[];
}

/** The page's own world, as far as it is counted in. */
interface Frames {
  frames: number;
  requestAnimationFrame(callback: () => void): void;
}

/** Shows the fleet's heat map, with the list of one state beside it, to a recorded feed. */
export async function measureFeedLoad(actors: number, perSecond: number, seconds: number): Promise<FeedLoad> {
  const feed = await replayFeed(actors);
  const browser = await launchBrowser(['--js-flags=--expose-gc']);
  try {
    const context = await browser.newContext({ viewport: VIEWPORT });
    await asAdmin(context);
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    const cdp = await context.newCDPSession(page);
    // Seconds of the thread, not of the clock: this machine does other things too.
    await cdp.send('Performance.enable', { timeDomain: 'threadTicks' });
    await page.goto(`${feed.url}/dashboard/fleet`);
    const total = page.getByRole('button', { name: /^Capsules/ }).filter({ hasText: actors.toLocaleString('en') });
    await total.waitFor();
    await page.locator('[data-state="running"] .name').click(); // the list beside it follows too
    await page.getByRole('region', { name: 'In running' }).waitFor();
    await feed.play(perSecond, WARM_UP_SECONDS);
    await cdp.send('HeapProfiler.collectGarbage');
    const before = await metrics(cdp);
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
    await feed.play(perSecond, seconds);
    const lasted = (performance.now() - began) / 1_000;
    const after = await metrics(cdp);
    const frames = await page.evaluate(() => (globalThis as unknown as Frames).frames);
    await cdp.send('HeapProfiler.collectGarbage');
    const { heap } = await metrics(cdp);
    await total.waitFor(); // it showed what it was told: the members' states sum up to all of them
    return {
      mainThread: (after.busy - before.busy) / lasted,
      heapBytes: { before: before.heap, after: heap },
      framesPerSecond: frames / lasted,
      sent: feed.sent() - perSecond * WARM_UP_SECONDS,
      complaints,
    };
  } finally {
    await browser.close();
    await feed.close();
  }
}

/** Somebody signed in, for a server that asks nobody. */
export async function asAdmin(context: BrowserContext): Promise<void> {
  const user = { email: 'admin@wrenn.local', name: 'Admin', id: 'usr-1', is_admin: true, created_at: '' };
  const team = { id: 'team-1', name: 'Team', role: 'owner', is_byoc: false, created_at: '' };
  const kept = { token: 'replay', expires_at: '2999-01-01T00:00:00Z', user, team };
  await context.addInitScript((text) => localStorage.setItem('wrenn.session', text), JSON.stringify(kept));
}

async function metrics(cdp: CDPSession): Promise<{ busy: number; heap: number }> {
  const { metrics: list } = await cdp.send('Performance.getMetrics');
  const value = (name: string) => list.find((metric) => metric.name === name)?.value ?? Number.NaN;
  return { busy: value('TaskDuration'), heap: value('JSHeapUsedSize') };
}
