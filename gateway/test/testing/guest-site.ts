import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';
import { call } from '../gateway.ts';
import { type Fleet, startFleet } from './fleet.ts';

export const ACCESS_TOKEN = 'access token of a test';

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of all shapes
  json: any;
}

type Serve = (request: IncomingMessage, response: ServerResponse) => void;
const hello: Serve = (_, response) => response.end('hello');

/**
 * An HTTP server in every sandbox of a fleet: the guest is an address of this machine, and what listens there is in the
 * sandbox. The agent's front is the real one.
 */
export class GuestSite {
  readonly fleet: Fleet;
  readonly key: string;
  readonly agentAddress: string;
  readonly #app = createServer((request, response) => this.serve(request, response));
  /** What the server does. */
  serve = hello;

  private constructor(fleet: Fleet, key: string, agentAddress: string) {
    this.fleet = fleet;
    this.key = key;
    this.agentAddress = agentAddress;
  }

  static async start(guestIp: string): Promise<GuestSite> {
    const fleet = await startFleet();
    const { agent } = await fleet.addHost({ guest: { ip: guestIp, accessToken: ACCESS_TOKEN } });
    const site = new GuestSite(fleet, await fleet.newKey(), agent.address);
    site.#app.listen(0, guestIp);
    await once(site.#app, 'listening');
    return site;
  }

  get port(): number {
    return (this.#app.address() as AddressInfo).port;
  }

  sayHello(): void {
    this.serve = hello;
  }

  async close(): Promise<void> {
    this.#app.closeAllConnections();
    this.#app.close();
    await this.fleet.close();
  }

  async create(body: object = {}): Promise<{ id: string; traffic_token: string }> {
    const answer = await call(this.fleet, 'POST', '/v1/sandboxes', { key: this.key, body });
    expect(answer.status, JSON.stringify(answer.body)).toBe(201);
    return answer.body;
  }

  /** The host name of a port of a sandbox; default: the server's. */
  hostOf(id: string, at = this.port): string {
    return `${at}-${id}.localhost:${this.fleet.port}`;
  }

  /** A request to a host name, on a connection of its own. */
  ask(
    host: string,
    path = '/',
    { method = 'GET', headers = {}, body }: { method?: string; headers?: object; body?: Buffer | string } = {},
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request(
        { host: '127.0.0.1', port: this.fleet.port, path, method, headers: { host, ...headers }, agent: false },
        async (response) => {
          const chunks: Buffer[] = [];
          try {
            for await (const chunk of response) chunks.push(chunk);
          } catch (error) {
            reject(error);
            return;
          }
          const bytes = Buffer.concat(chunks);
          const text = bytes.toString();
          const json = response.headers['content-type']?.includes('json') ? JSON.parse(text) : undefined;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes, text, json });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }
}
