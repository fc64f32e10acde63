import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

const NAMESPACE = 'wrenn-e2e-world';
const CABLE = 'wrenn-e2e-w';

/** A machine outside: what a guest reaches through its host, at 10.99.7.2, with a server on port 80. */
export interface World {
  readonly address: string;
  close(): Promise<void>;
}

const ip = (...argv: string[]) => execFileSync('ip', argv, { stdio: 'ignore' });

export async function startWorld(): Promise<World> {
  removeWorld();
  ip('netns', 'add', NAMESPACE);
  ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', 'cable', 'netns', NAMESPACE);
  ip('address', 'add', '10.99.7.1/24', 'dev', CABLE);
  ip('link', 'set', CABLE, 'up');
  ip('-n', NAMESPACE, 'address', 'add', '10.99.7.2/24', 'dev', 'cable');
  ip('-n', NAMESPACE, 'link', 'set', 'cable', 'up');
  const script = "require('http').createServer((q,r)=>r.end('the world')).listen(80,'10.99.7.2',()=>console.log('up'))";
  const server: ChildProcess = spawn('ip', ['netns', 'exec', NAMESPACE, process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(server.stdout as NodeJS.ReadableStream, 'data');
  return {
    address: '10.99.7.2',
    close: async () => {
      server.kill('SIGKILL');
      await once(server, 'exit');
      removeWorld();
    },
  };
}

function removeWorld(): void {
  for (const argv of [
    ['link', 'delete', CABLE],
    ['netns', 'delete', NAMESPACE],
  ]) {
    try {
      ip(...argv);
    } catch {
      // it is not there
    }
  }
}
