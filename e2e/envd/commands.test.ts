import { CommandExitError, InvalidArgumentError, TimeoutError } from 'e2b';
import { describe, expect } from 'vitest';
import { testsOfEnvd } from './bare-envd.ts';

/** VM7, VM8, X1: the published SDK runs commands in the bare guest agent. */
describe('commands of the published SDK', () => {
  const it = testsOfEnvd();

  it('foreground: output, exit code and error', async ({ sandbox }) => {
    const result = await sandbox.commands.run('echo "to out"; echo "to err" >&2');
    expect(result).toMatchObject({ stdout: 'to out\n', stderr: 'to err\n', exitCode: 0 });
    const failure = await sandbox.commands.run('echo partial; exit 7').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CommandExitError);
    expect(failure).toMatchObject({ exitCode: 7, stdout: 'partial\n', error: 'exit status 7' });
  });

  it('output of many characters arrives whole, as it is written', async ({ sandbox }) => {
    let streamed = '';
    const result = await sandbox.commands.run('for i in $(seq 20000); do echo "žluťoučký $i"; done', {
      onStdout: (text) => {
        streamed += text;
      },
    });
    const expected = Array.from({ length: 20_000 }, (_, index) => `žluťoučký ${index + 1}\n`).join('');
    expect(result.stdout === expected).toBe(true);
    expect(streamed === expected).toBe(true);
  });

  it('background: stdin, close, wait', async ({ sandbox }) => {
    const cat = await sandbox.commands.run('cat', { background: true, stdin: true });
    await sandbox.commands.sendStdin(cat.pid, 'one\n');
    await cat.sendStdin(new TextEncoder().encode('two\n'));
    await cat.closeStdin();
    expect(await cat.wait()).toMatchObject({ stdout: 'one\ntwo\n', exitCode: 0 });
  });

  it('list, kill, and what was killed is gone', async ({ sandbox }) => {
    const sleeper = await sandbox.commands.run('sleep 100 & sleep 100', { background: true });
    const listed = (await sandbox.commands.list()).find((process) => process.pid === sleeper.pid);
    expect(listed).toMatchObject({ cmd: '/bin/bash', args: ['-l', '-c', 'sleep 100 & sleep 100'] });
    expect(await sleeper.kill()).toBe(true);
    await expect(sleeper.wait()).rejects.toMatchObject({ exitCode: -1, error: 'signal: killed' });
    expect(await sandbox.commands.kill(sleeper.pid)).toBe(false);
    // Dead ones may wait for whoever inherited them; that is the machine's init, not the agent.
    const left = `ps -o stat= -s ${sleeper.pid} | grep -v Z || echo none`;
    await expect.poll(async () => (await sandbox.commands.run(left)).stdout).toBe('none\n');
  });

  it('connect: another client reads on; leaving does not kill', async ({ sandbox }) => {
    const script = 'echo first; read -r line; echo "second $line"';
    const started = await sandbox.commands.run(script, { background: true, stdin: true });
    await started.disconnect();
    const again = await sandbox.commands.connect(started.pid);
    await sandbox.commands.sendStdin(started.pid, 'x\n');
    expect(await again.wait()).toMatchObject({ exitCode: 0 });
    expect(again.stdout).toContain('second x\n');
    await expect(sandbox.commands.connect(999_999)).rejects.toThrow('not found');
  });

  it('timeout: the process does not outlive it', async ({ sandbox }) => {
    const script = 'echo $$ > /tmp/envd-timeout.pid; exec sleep 100';
    await expect(sandbox.commands.run(script, { timeoutMs: 1000 })).rejects.toBeInstanceOf(TimeoutError);
    const probe =
      'for i in $(seq 50); do kill -0 $(cat /tmp/envd-timeout.pid) 2>/dev/null || exit 0; sleep 0.1; done; exit 1';
    expect(await sandbox.commands.run(`${probe}`)).toMatchObject({ exitCode: 0 });
    await sandbox.commands.run('rm -f /tmp/envd-timeout.pid');
  });

  it('envs, cwd and users', async ({ sandbox, dir }) => {
    const inside = await sandbox.commands.run('echo "$PWD $FOO $HOME $USER"', { cwd: dir, envs: { FOO: 'a b' } });
    expect(inside.stdout).toBe(`${dir} a b /root root\n`);
    const other = await sandbox.commands.run('id -un', { user: 'nobody', cwd: '/' });
    expect(other.stdout).toBe('nobody\n');
    await expect(sandbox.commands.run('true', { cwd: '/no/such' })).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(sandbox.commands.run('true', { user: 'no-such' })).rejects.toThrow('invalid username');
  });

  it('many commands at once', async ({ sandbox }) => {
    const numbers = Array.from({ length: 40 }, (_, index) => index);
    const results = await Promise.all(numbers.map((number) => sandbox.commands.run(`echo ${number}`)));
    expect(results.map((result) => result.stdout)).toEqual(numbers.map((number) => `${number}\n`));
  });
});
