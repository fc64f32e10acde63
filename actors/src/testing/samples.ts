import type { HostSpecs } from '../host/events.ts';
import type { SandboxCreate, SandboxSpec } from '../sandbox/events.ts';
import type { VmCreate, VmDestroy, VmSource, VmSpec } from '../vm/events.ts';

/** Values that tests have in common; what a test is about it sets itself. */
export const sandboxSpec = (changes: Partial<SandboxSpec> = {}): SandboxSpec => ({
  team_id: 'team-1',
  template: 'minimal',
  vcpus: 1,
  memory_mb: 512,
  disk_size_mb: 20_480,
  timeout_sec: 0,
  on_timeout: 'pause',
  ends_at: null,
  on_end: 'kill',
  labels: {},
  envs: { SECRET: 'envs are secret' },
  public_ports: [],
  auto_resume: false,
  access_token: 'access token is secret',
  traffic_token: 'traffic token is secret',
  created_by: 'usr-1',
  snapshot: null,
  ...changes,
});

export const createSandbox = (changes: Partial<SandboxSpec> = {}, wait = true): SandboxCreate => ({
  type: 'CREATE',
  spec: sandboxSpec(changes),
  wait,
});

export const vmSpec: VmSpec = {
  template: 'minimal',
  vcpus: 1,
  memory_mb: 512,
  disk_size_mb: 20_480,
  envs: { SECRET: 'envs are secret' },
  access_token: 'access token is secret',
  default_user: 'user',
  hostname: 'sb1',
  team_id: 'team-1',
};

export const createVm = (incarnation = 1, source: VmSource = { kind: 'kernel' }): VmCreate => ({
  type: 'CREATE',
  sandbox_id: 'sb1',
  incarnation,
  key: `create-${incarnation}`,
  epoch: 1,
  spec: vmSpec,
  budget_ms: 90_000,
  purpose: 'sandbox',
  source,
  claim: null,
});

export const destroyVm = (incarnation = 1): VmDestroy => ({
  type: 'DESTROY',
  sandbox_id: 'sb1',
  incarnation,
  key: `destroy-${incarnation}`,
  epoch: 1,
});

export const hostSpecs: HostSpecs = {
  vcpus: 16,
  memory_mb: 16_384,
  disk_mb: 500_000,
  arch: 'x86_64',
  vmm: 'qemu',
  vmm_version: '10.0',
  agent_version: '0.1.0',
  store: 'qcow2',
};
