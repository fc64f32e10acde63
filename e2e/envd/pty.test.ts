import { describe, expect, vi } from 'vitest';
import { testsOfEnvd } from './bare-envd.ts';

/** VM8, X1: terminals through the published SDK. */
describe('terminals of the published SDK', () => {
  const it = testsOfEnvd();

  it('size, input, resize, reconnect and kill', async ({ sandbox }) => {
    let screen = '';
    const decoder = new TextDecoder();
    const onData = (bytes: Uint8Array) => {
      screen += decoder.decode(bytes, { stream: true });
    };
    const type = (pid: number, text: string) => sandbox.pty.sendInput(pid, new TextEncoder().encode(text));
    const shows = (text: string) => vi.waitFor(() => expect(screen).toContain(text), { timeout: 10_000 });

    const terminal = await sandbox.pty.create({ cols: 90, rows: 25, onData, envs: { FOO: 'bar' } });
    await type(terminal.pid, 'stty size; echo "$TERM-$FOO"\n');
    await shows('25 90\r\n');
    await shows('xterm-256color-bar\r\n');
    await sandbox.pty.resize(terminal.pid, { cols: 100, rows: 30 });
    await type(terminal.pid, 'stty size\n');
    await shows('30 100\r\n');
    await terminal.disconnect();

    screen = '';
    const again = await sandbox.pty.connect(terminal.pid, { onData });
    await type(terminal.pid, 'echo back-$((20 + 3))\n');
    await shows('back-23\r\n');
    expect(await sandbox.pty.kill(terminal.pid)).toBe(true);
    await expect(again.wait()).rejects.toMatchObject({ exitCode: -1 });
    expect(await sandbox.pty.kill(terminal.pid)).toBe(false);
  });
});
