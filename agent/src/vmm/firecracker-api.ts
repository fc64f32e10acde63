import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** Firecracker said no, in its own words. */
export class FirecrackerError extends Error {
  readonly status: number;

  constructor(call: string, status: number, fault: string) {
    super(`${call}: ${fault}`);
    this.name = 'FirecrackerError';
    this.status = status;
  }
}

const SOCKET_PATIENCE_MS = 5_000;
const SOCKET_POLL_MS = 2;
const MAX_ANSWER_BYTES = 64 << 10;

/** Bodies of the requests that the driver makes (src/firecracker/swagger/firecracker.yaml of its repository). */
export interface FirecrackerRequests {
  'PUT /machine-config': { vcpu_count: number; mem_size_mib: number; track_dirty_pages: boolean };
  'PUT /boot-source': { kernel_image_path: string; initrd_path: string; boot_args: string };
  'PUT /drives/root': { drive_id: 'root'; path_on_host: string; is_root_device: boolean; is_read_only: boolean };
  'PUT /network-interfaces/eth0': { iface_id: 'eth0'; host_dev_name: string; guest_mac: string };
  'PUT /entropy': Record<string, never>;
  'PUT /actions': { action_type: 'InstanceStart' };
  'PATCH /vm': { state: 'Paused' | 'Resumed' };
  'PUT /snapshot/create': { snapshot_type: 'Full' | 'Diff'; snapshot_path: string; mem_file_path: string };
  'PUT /snapshot/load': {
    snapshot_path: string;
    mem_backend: { backend_type: 'Uffd' | 'File'; backend_path: string };
    /** Its name before Firecracker 1.13; later ones still take it. */
    enable_diff_snapshots: boolean;
    resume_vm: boolean;
  };
}

export interface InstanceInfo {
  readonly state: 'Not started' | 'Running' | 'Paused';
  readonly vmm_version: string;
}

/** Firecracker's API over its unix socket, one connection per call. */
export class FirecrackerApi {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** A VMM that has just been started opens its socket within some milliseconds: it is waited for. */
  async info(signal: AbortSignal): Promise<InstanceInfo> {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(SOCKET_PATIENCE_MS)]);
    while (true) {
      try {
        return JSON.parse(await this.#send('GET', '/', undefined, signal)) as InstanceInfo;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (patience.aborted || (code !== 'ENOENT' && code !== 'ECONNREFUSED')) throw error;
      }
      await sleep(SOCKET_POLL_MS, undefined, { signal });
    }
  }

  async call<Call extends keyof FirecrackerRequests>(
    call: Call,
    body: FirecrackerRequests[Call],
    signal: AbortSignal,
  ): Promise<void> {
    const [method = '', path = ''] = call.split(' ');
    await this.#send(method, path, JSON.stringify(body), signal);
  }

  #send(method: string, path: string, body: string | undefined, signal: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      const headers = {
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      };
      const call = request({ socketPath: this.#socket, agent: false, method, path, headers, signal }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text = (text + chunk).slice(0, MAX_ANSWER_BYTES);
        });
        response.on('error', reject);
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(text);
          else reject(new FirecrackerError(`${method} ${path}`, status, faultOf(text)));
        });
      });
      call.on('error', reject);
      call.end(body);
    });
  }
}

function faultOf(text: string): string {
  try {
    return (JSON.parse(text) as { fault_message?: string }).fault_message ?? text;
  } catch {
    return text;
  }
}
