import type { Browser, BrowserContext, Page } from 'playwright-core';
import { type Api, apiOf } from './api.ts';
import { launchBrowser, newPage } from './browser.ts';
import { sharedStack } from './shared-stack.ts';
import type { Stack } from './stack.ts';

/** A browser with a page for the console of the shared stack. */
export interface Console {
  readonly stack: Stack;
  readonly api: Api;
  readonly browser: Browser;
  readonly context: BrowserContext;
  readonly page: Page;
  readonly complaints: readonly string[];
}

/** Whoever opens it closes the browser. */
export async function openConsole(): Promise<Console> {
  const stack = await sharedStack();
  const browser = await launchBrowser();
  return { stack, api: apiOf(stack), browser, ...(await newPage(browser)) };
}
