import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { SECRET_HEADER } from '../front.ts';

/** Whether a call comes from the control plane. Takes as long for a near miss as for a far one. */
export function isAuthorized(request: IncomingMessage, secret: string | null): boolean {
  const given = request.headers[SECRET_HEADER];
  if (secret === null || typeof given !== 'string') return false;
  const [one, other] = [Buffer.from(given), Buffer.from(`Bearer ${secret}`)];
  return one.length === other.length && timingSafeEqual(one, other);
}
