import type { Active } from '@wrenn/actors';
import type { Refusal } from '../agents/agent-error.ts';

/** What an agent's refusal `active` says: there was activity so long ago (SN7). */
export function activeResult({ headers }: Refusal, incarnation: number): Active {
  const idle = Number(headers.get('wrenn-idle-ms') ?? 0);
  return { type: 'ACTIVE', incarnation, idle_ms: Number.isSafeInteger(idle) && idle >= 0 ? idle : 0 };
}
