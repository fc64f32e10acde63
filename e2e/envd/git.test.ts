import { describe, expect } from 'vitest';
import { testsOfEnvd } from './bare-envd.ts';

/** X1: the SDK's git module, from an empty repository to a pushed and cloned commit. */
describe('git of the published SDK', () => {
  const it = testsOfEnvd();

  it('init, config, status, commit, branches, remote, push, clone, restore', async ({ sandbox, dir }) => {
    const { git, files } = sandbox;
    const [repo, bare, copy] = [`${dir}/repo`, `${dir}/bare.git`, `${dir}/copy`];
    await git.init(repo, { initialBranch: 'main' });
    await git.init(bare, { bare: true, initialBranch: 'main' });
    await git.configureUser('Tester', 'tester@example.com');
    expect(await git.getConfig('user.name')).toBe('Tester');

    await files.write(`${repo}/a.txt`, 'one\n');
    const before = await git.status(repo);
    expect(before.fileStatus).toEqual([expect.objectContaining({ name: 'a.txt', status: 'untracked' })]);
    await git.add(repo);
    await git.commit(repo, 'first');
    expect((await git.status(repo)).isClean).toBe(true);

    await git.createBranch(repo, 'feature');
    expect(await git.branches(repo)).toMatchObject({ currentBranch: 'feature', branches: ['feature', 'main'] });
    await git.checkoutBranch(repo, 'main');
    await git.remoteAdd(repo, 'origin', bare);
    expect(await git.remoteGet(repo, 'origin')).toBe(bare);
    await git.push(repo, { remote: 'origin', branch: 'main' });
    await git.clone(bare, { path: copy });
    expect(await files.read(`${copy}/a.txt`)).toBe('one\n');

    await files.write(`${repo}/a.txt`, 'spoiled\n');
    await git.restore(repo, { paths: ['a.txt'] });
    expect(await files.read(`${repo}/a.txt`)).toBe('one\n');
  });
});
