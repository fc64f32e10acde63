import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

const NAMESPACE = 'wrenn-e2e-world';
const CABLE = 'wrenn-e2e-w';

/** Where its name server is: the agents of test stacks are told so (`WRENN_NAME_SERVERS`). */
export const WORLD_NAME_SERVER = '10.99.7.2';

/**
 * Machines outside, which a guest reaches through its host, each with a server on port 80: 10.99.7.2 under all names below
 * `example.com`, 10.99.7.3 under all others.
 */
export interface World {
  readonly address: string;
  readonly otherAddress: string;
  close(): Promise<void>;
}

const ip = (...argv: string[]) => execFileSync('ip', argv, { stdio: 'ignore' });

/** Answers a question for an IPv4 address (type 1) by one, any other by nothing; a time to live of 1 s. */
const PROGRAM = `
const names = require('dgram').createSocket('udp4');
names.on('message', (query, from) => {
  let name = '', at = 12;
  while (query[at]) { name += query.toString('latin1', at + 1, at + 1 + query[at]) + '.'; at += query[at] + 1; }
  const isAddress = query.readUInt16BE(at + 1) === 1;
  const head = Buffer.from([query[0], query[1], 0x81, 0x80, 0, 1, 0, isAddress ? 1 : 0, 0, 0, 0, 0]);
  const last = name.toLowerCase().endsWith('example.com.') ? 2 : 3;
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 99, 7, last]);
  names.send(Buffer.concat([head, query.subarray(12, at + 5), ...(isAddress ? [record] : [])]), from.port, from.address);
});
const web = require('http').createServer((request, reply) => reply.end('the world at ' + request.socket.localAddress));
names.bind(53, '10.99.7.2', () => web.listen(80, '0.0.0.0', () => console.log('up')));
`;

export async function startWorld(): Promise<World> {
  removeWorld();
  ip('netns', 'add', NAMESPACE);
  ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', 'cable', 'netns', NAMESPACE);
  ip('address', 'add', '10.99.7.1/24', 'dev', CABLE);
  ip('link', 'set', CABLE, 'up');
  for (const address of ['10.99.7.2/24', '10.99.7.3/24'])
    ip('-n', NAMESPACE, 'address', 'add', address, 'dev', 'cable');
  ip('-n', NAMESPACE, 'link', 'set', 'cable', 'up');
  const server: ChildProcess = spawn('ip', ['netns', 'exec', NAMESPACE, process.execPath, '-e', PROGRAM], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(server.stdout as NodeJS.ReadableStream, 'data');
  return {
    address: '10.99.7.2',
    otherAddress: '10.99.7.3',
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
