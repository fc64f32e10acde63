import { expect, test } from 'vitest';
import { resolvers, serversOf } from './resolvers.ts';

test('NET4: the host asks the servers of its resolv.conf, or those it is told', async () => {
  const text =
    '# a comment\nsearch example.com\nnameserver 127.0.0.53\n nameserver  2001:db8::1\nnameserver fe80::1%eth0\n';
  expect(serversOf(text)).toEqual(['127.0.0.53:53', '[2001:db8::1]:53']);
  expect(await resolvers(['10.0.0.1:5353'])).toEqual(['10.0.0.1:5353']);
});
