import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** One repository as apt on this machine knows it. */
export interface AptSource {
  uri: string;
  /** What stands in the sources' `Suites`, e.g. `bookworm-security`. */
  suite: string;
  components: string[];
  /** Path of the keyring, where the entry names one. */
  signedBy?: string;
}

export interface Distribution {
  id: string;
  /** e.g. `bookworm`. */
  codename: string;
}

/** From /etc/os-release. */
export function distribution(): Distribution {
  const release = readFileSync('/etc/os-release', 'utf8');
  const value = (name: string) => new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(release)?.[1] ?? '';
  return { id: value('ID'), codename: value('VERSION_CODENAME') };
}

/**
 * The distribution's own repositories (not third parties'), whatever mirror the machine uses and however its
 * sources are written: apt itself is asked. Lists must have been downloaded.
 */
export async function distributionSources(): Promise<AptSource[]> {
  const format = '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)';
  const { stdout } = await promisify(execFile)('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const texts = sourceEntries();
  const sources = new Map<string, AptSource>();
  for (const line of stdout.split('\n')) {
    const [origin, uri, suite, component] = line.split('|');
    if (!uri || !suite || !component || !/^(debian|ubuntu)\b/i.test(origin ?? '')) continue;
    const known = sources.get(`${uri} ${suite}`);
    if (known) known.components.push(component);
    else {
      const signedBy = keyringOf(uri, texts);
      sources.set(`${uri} ${suite}`, { uri, suite, components: [component], ...(signedBy ? { signedBy } : {}) });
    }
  }
  for (const source of sources.values()) source.components = [...new Set(source.components)];
  return [...sources.values()];
}

/** The entry in apt's one-line format. */
export function oneLine(source: AptSource): string {
  const options = source.signedBy ? `[signed-by=${source.signedBy}] ` : '';
  return `deb ${options}${source.uri} ${source.suite} ${source.components.join(' ')}`;
}

/** Every entry of the machine's sources: stanzas of deb822 files, lines of others. */
function sourceEntries(): string[] {
  const folder = '/etc/apt/sources.list.d';
  const names = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
  return ['/etc/apt/sources.list', ...names].filter(existsSync).flatMap((path) => {
    const lines = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => !line.startsWith('#'));
    if (path.endsWith('.sources')) return lines.join('\n').split(/\n\s*\n/);
    return path.endsWith('.list') ? lines : [];
  });
}

/** apt does not tell which keyring an entry names, so the entry with this address is looked up. */
function keyringOf(uri: string, entries: string[]): string | undefined {
  const address = uri.replace(/\/+$/, '');
  const entry = entries.find((text) => text.split(/\s+/).some((word) => word.replace(/\/+$/, '') === address));
  return entry && /signed-by\s*[:=]\s*(\/[^\s\]]+)/i.exec(entry)?.[1];
}
