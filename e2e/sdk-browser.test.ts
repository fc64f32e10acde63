import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasBrowser, launchBrowser, newPage } from './testing/browser.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

/** X2: the SDK in a real browser, on a page of another origin than the API. */
describe.runIf(isBuilt && hasBrowser)('the SDK in a browser', () => {
  let stack: Stack;
  let server: Server;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    stack = await sharedStack();
    server = await serve(await bundle());
    browser = await launchBrowser();
    ({ page } = await newPage(browser));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  });
  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  test('creates a sandbox, streams a command, moves files and ends it', async () => {
    const connection = { apiUrl: stack.url, apiKey: stack.apiKey };
    const seen = await page.evaluate(async (options) => {
      const { Sandbox } = (globalThis as unknown as { wrenn: typeof import('@wrenn/sdk') }).wrenn;
      const sandbox = await Sandbox.create(options);
      try {
        const pieces: string[] = [];
        const result = await sandbox.commands.run('sh', ['-c', 'echo one; sleep 0.5; echo zwei: ä'], {
          onStdout: (text) => void pieces.push(text),
        });
        await sandbox.files.write('from-browser.txt', new Blob(['grüße']));
        const back = new TextDecoder().decode(await sandbox.files.read('from-browser.txt'));
        const missing = await sandbox.files.read('not-there').catch((error: Error) => error.name);
        return { pieces: pieces.length, result, back, missing };
      } finally {
        await sandbox.kill();
      }
    }, connection);
    expect(seen.result).toMatchObject({ stdout: 'one\nzwei: ä\n', exitCode: 0 });
    expect(seen.pieces).toBeGreaterThan(1);
    expect(seen.back).toBe('grüße');
    expect(seen.missing).toBe('NotFoundError');
  });
});

async function bundle(): Promise<string> {
  const entry = fileURLToPath(import.meta.resolve('@wrenn/sdk'));
  const built = await build({
    configFile: false,
    logLevel: 'error',
    build: { write: false, minify: false, lib: { entry, formats: ['iife'], name: 'wrenn', fileName: 'sdk' } },
  });
  const output = [built].flat()[0];
  if (output === undefined || !('output' in output)) throw new Error('nothing was built');
  return output.output[0].code;
}

function serve(sdk: string): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.url === '/sdk.js') response.setHeader('content-type', 'text/javascript').end(sdk);
    else
      response
        .setHeader('content-type', 'text/html')
        .end('<!doctype html><title>SDK</title><script src="/sdk.js"></script>');
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}
