import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { bootModules } from './modules.ts';

test('VM5: modules come after what they depend on, once each; built-in ones are left out', () => {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-modules-'));
  try {
    mkdirSync(join(dir, 'kernel/drivers'), { recursive: true });
    const add = (name: string, depends: string) => {
      const data = Buffer.from(`ELF\0license=GPL\0depends=${depends}\0name=x\0`);
      writeFileSync(join(dir, 'kernel/drivers', name), name.endsWith('.zst') ? zstdCompressSync(data) : data);
    };
    add('virtio_ring.ko', '');
    add('virtio.ko', 'virtio_ring');
    add('virtio_blk.ko', 'virtio,virtio_ring');
    add('net_failover.ko', 'failover');
    add('failover.ko', '');
    add('virtio_net.ko.zst', 'virtio_ring,virtio,net_failover');
    add('unrelated.ko', 'virtio');
    const modules = bootModules(dir);
    expect(modules.map(({ name }) => name)).toEqual([
      'virtio_ring.ko',
      'virtio.ko',
      'virtio_blk.ko',
      'failover.ko',
      'net_failover.ko',
      'virtio_net.ko',
    ]);
    expect(modules.at(-1)?.data.includes('depends=')).toBe(true);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
