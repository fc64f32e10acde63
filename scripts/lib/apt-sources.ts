import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
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
  const format = '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)';
  const { stdout } = await promisify(execFile)('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const sources = new Map<string, AptSource>();
  for (const line of stdout.split('\n')) {
    const [origin, uri, suite, component, signedBy] = line.split('|');
    if (!uri || !suite || !component || !['debian', 'ubuntu'].includes(origin?.toLowerCase() ?? '')) continue;
    const known = sources.get(`${uri} ${suite}`);
    if (known) known.components.push(component);
    else sources.set(`${uri} ${suite}`, { uri, suite, components: [component], ...(signedBy ? { signedBy } : {}) });
  }
  for (const source of sources.values()) source.components = [...new Set(source.components)];
  return [...sources.values()];
}

/** The entry in apt's one-line format. */
export function oneLine(source: AptSource): string {
  const options = source.signedBy ? `[signed-by=${source.signedBy}] ` : '';
  return `deb ${options}${source.uri} ${source.suite} ${source.components.join(' ')}`;
}
