import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A connection that sends what no well-behaved client would. */
export async function rawConnect(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined); // being cut off is part of the tests
  await once(socket, 'connect');
  return socket;
}

/** Sends bytes as they are and resolves with all that comes until `until` is met or the connection ends. */
export async function rawRequest(
  port: number,
  request: string | Uint8Array,
  until: (text: string) => boolean = () => false,
): Promise<string> {
  const socket = await rawConnect(port);
  socket.write(request);
  let text = '';
  try {
    for await (const chunk of socket) {
      text += (chunk as Buffer).toString('latin1');
      if (until(text)) break;
    }
  } catch {
    // reset: what came so far is the answer
  }
  socket.destroy();
  return text;
}
