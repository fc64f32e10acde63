import { frontListen, routeSet } from '@wrenn/addon';

/** The agent's byte path alone: `node front-child.ts <guest ip> <secret>` prints its port. */
const [, , guestIp = '', secret = ''] = process.argv;
const front = await frontListen({
  address: '127.0.0.1:0',
  upstream: '/nonexistent',
  identity: { header: 'wrenn-authorization', value: `Bearer ${secret}` },
});
routeSet({ sandboxId: `sb${'0'.repeat(20)}`, incarnation: 1, guestIp, accessToken: 'none', state: 'ready' });
console.log(front.port);
setInterval(() => undefined, 1_000); // the listener alone does not keep a program alive
