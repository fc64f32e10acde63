/**
 * Jupyter's messaging protocol 5.4, in a worker: five sockets, signed messages, one run at a time.
 * https://jupyter-client.readthedocs.io/en/stable/messaging.html
 */
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { Publisher, Reply, Router } from 'zeromq';

const VERSION = '5.4';
const DELIMITER = '<IDS|MSG>';

const connection = JSON.parse(readFileSync(workerData.connectionFile, 'utf8'));
const session = randomUUID();
const address = (name) =>
  connection.transport === 'ipc'
    ? `ipc://${connection.ip}-${connection[`${name}_port`]}`
    : `tcp://${connection.ip}:${connection[`${name}_port`]}`;
const sockets = {
  shell: new Router(),
  control: new Router(),
  stdin: new Router(),
  iopub: new Publisher({ sendHighWaterMark: 0 }), // output is not dropped; the main thread is the one to wait
  hb: new Reply(),
};
await Promise.all(Object.entries(sockets).map(([name, socket]) => socket.bind(address(name))));

const main = new Session();
main.connectToMainThread();

/** Sends on one socket are one after the other: ZeroMQ's rule. */
const queues = new Map();
let runs = 0;
/** The run of the main thread. */
let running;

function send(socket, type, content, parent = {}, identities = [type]) {
  const header = {
    msg_id: randomUUID(),
    session,
    username: 'kernel',
    date: new Date().toISOString(),
    msg_type: type,
    version: VERSION,
  };
  const parts = [header, parent, {}, content].map((part) => JSON.stringify(part));
  const frames = [...identities, DELIMITER, signature(parts), ...parts];
  const before = queues.get(socket) ?? Promise.resolve();
  const sent = before.then(() => socket.send(frames)).catch(() => undefined); // a peer that is gone
  queues.set(socket, sent);
  return sent;
}

const publish = (type, content, parent) => send(sockets.iopub, type, content, parent);

function signature(parts) {
  if (connection.key === '') return '';
  const hmac = createHmac('sha256', connection.key);
  for (const part of parts) hmac.update(part);
  return hmac.digest('hex');
}

/** A message from its frames; none when it is not signed by whoever has the connection file. */
function parseMessage(frames) {
  const at = frames.findIndex((frame) => frame.toString() === DELIMITER);
  const parts = frames.slice(at + 2, at + 6);
  const expected = Buffer.from(signature(parts));
  const given = frames[at + 1];
  if (at === -1 || given?.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const [header, , , content] = parts.map((part) => JSON.parse(part.toString()));
  return { identities: frames.slice(0, at), header, content };
}

async function* messages(socket) {
  for await (const frames of socket) {
    try {
      const message = parseMessage(frames);
      if (message) yield message;
    } catch {
      // not JSON: not for us
    }
  }
}

const LANGUAGES = {
  javascript: { mimetype: 'application/javascript', file_extension: '.js' },
  typescript: { mimetype: 'application/typescript', file_extension: '.ts' },
};

const HANDLERS = {
  kernel_info_request: () => ({
    status: 'ok',
    protocol_version: VERSION,
    implementation: 'wrenn',
    implementation_version: '1.0.0',
    banner: `Node.js ${process.version}`,
    language_info: { name: workerData.language, version: process.versions.node, ...LANGUAGES[workerData.language] },
    help_links: [],
  }),
  execute_request: execute,
  is_complete_request: () => ({ status: 'unknown' }),
  complete_request: ({ cursor_pos }) => ({
    status: 'ok',
    matches: [],
    cursor_start: cursor_pos,
    cursor_end: cursor_pos,
    metadata: {},
  }),
  inspect_request: () => ({ status: 'ok', found: false, data: {}, metadata: {} }),
  history_request: () => ({ status: 'ok', history: [] }),
  comm_info_request: () => ({ status: 'ok', comms: {} }),
  interrupt_request: () => {
    interrupt();
    return { status: 'ok' };
  },
};

async function execute({ code, silent = false, store_history = !silent }, parent) {
  if (store_history && !silent) runs += 1;
  const number = runs;
  if (!silent) await publish('execute_input', { code, execution_count: number }, parent);
  const error = await new Promise((resolve) => {
    running = { id: randomUUID(), resolve };
    parentPort.postMessage({ type: 'execute', id: running.id, parent, code, silent, number });
  });
  running = undefined;
  await queues.get(sockets.iopub); // all output is out before the reply
  return error
    ? { status: 'error', execution_count: number, ...error }
    : { status: 'ok', execution_count: number, user_expressions: {}, payload: [] };
}

function interrupt() {
  if (running === undefined) return;
  // Ends a loop of the main thread; where it does not loop but waits, it is told to give up.
  main.post('Runtime.terminateExecution').catch(() => undefined);
  parentPort.postMessage({ type: 'interrupt' });
}

parentPort.on('message', ({ done, error, type, content, parent }) => {
  if (done === undefined) publish(type, content, parent);
  else if (done === running?.id) running.resolve(error);
});

async function serve(socket) {
  for await (const { identities, header, content } of messages(socket)) {
    const type = header.msg_type;
    if (type === 'shutdown_request') {
      await send(socket, 'shutdown_reply', { status: 'ok', restart: content.restart }, header, identities);
      process.kill(process.pid, 'SIGKILL'); // `exit` would wait for a main thread that loops
    }
    const handler = HANDLERS[type];
    if (handler === undefined) continue; // comm_open and the like ask for no reply
    await publish('status', { execution_state: 'busy' }, header);
    const reply = await handler(content, header);
    await send(socket, type.replace('_request', '_reply'), reply, header, identities);
    await publish('status', { execution_state: 'idle' }, header);
  }
}

async function heartbeat() {
  for await (const frames of sockets.hb) await sockets.hb.send(frames);
}

await publish('status', { execution_state: 'starting' });
await Promise.all([serve(sockets.shell), serve(sockets.control), heartbeat()]);
