import { chmodSync, copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Files of the guest that are Wrenn's: its two programs and what a fresh Debian leaves to its administrator. */
const TEXT_FILES: [path: string, mode: number, text: string][] = [
  ['etc/sudoers.d/user', 0o440, 'user ALL=(ALL) NOPASSWD: ALL\nDefaults:user !requiretty\n'],
  ['etc/default/locale', 0o644, 'LANG=C.UTF-8\n'],
  ['etc/hostname', 0o644, 'sandbox\n'],
  ['etc/hosts', 0o644, '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n'],
  ['etc/resolv.conf', 0o644, ''], // written by wrenn-init from the kernel's arguments
  ['etc/fstab', 0o644, ''],
  ['etc/machine-id', 0o444, 'uninitialized\n'],
];

/** Programs and agents call it by either name; Debian leaves that to a package. */
const LINKS: [path: string, to: string][] = [['usr/bin/python', 'python3']];

/** Puts them below `root`; safe to repeat. */
export function addOverlay(root: string, programs: { envd: string; init: string }): void {
  for (const [path, mode, text] of TEXT_FILES) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    rmSync(file, { force: true }); // may be read-only, or a link that leads out of `root`
    writeFileSync(file, text);
    chmodSync(file, mode);
  }
  for (const [path, to] of LINKS) {
    rmSync(join(root, path), { force: true });
    symlinkSync(to, join(root, path));
  }
  for (const [source, path] of [
    [programs.envd, 'usr/bin/envd'],
    [programs.init, 'usr/sbin/wrenn-init'],
  ] as const) {
    rmSync(join(root, path), { force: true });
    copyFileSync(source, join(root, path));
    chmodSync(join(root, path), 0o755);
  }
}
