import { createHmac, timingSafeEqual } from 'node:crypto';

/** Query parameters of a signed link, and the cookie that a request with one sets. */
export const SIGNATURE_PARAMETER = 'wrenn_signature';
export const EXPIRES_PARAMETER = 'wrenn_expires';
export const ACCESS_COOKIE = 'wrenn_access';

/** What proves that a link was made by someone who holds the sandbox's traffic token. `expires`: Unix seconds. */
export function sign(trafficToken: string, sandboxId: string, port: number, expires: number): string {
  return createHmac('sha256', trafficToken).update(`${sandboxId}:${port}:${expires}`).digest('base64url');
}

export interface Grant {
  /** Unix seconds. */
  readonly expires: number;
  readonly signature: string;
}

/** The query that a link carries. */
export function linkQuery({ expires, signature }: Grant): string {
  return `${SIGNATURE_PARAMETER}=${signature}&${EXPIRES_PARAMETER}=${expires}`;
}

/** Takes a link's parameters out of a target. Null: it has none. */
export function takeFromTarget(target: string): { readonly target: string; readonly grant: Grant } | null {
  if (!target.includes(SIGNATURE_PARAMETER)) return null;
  const at = target.indexOf('?');
  const kept: string[] = [];
  let signature: string | null = null;
  let expires: number | null = null;
  for (const part of target.slice(at + 1).split('&')) {
    if (part.startsWith(`${SIGNATURE_PARAMETER}=`)) signature = part.slice(SIGNATURE_PARAMETER.length + 1);
    else if (part.startsWith(`${EXPIRES_PARAMETER}=`)) expires = Number(part.slice(EXPIRES_PARAMETER.length + 1));
    else kept.push(part);
  }
  if (at < 0 || signature === null || expires === null) return null;
  const query = kept.length > 0 ? `?${kept.join('&')}` : '';
  return { target: target.slice(0, at) + query, grant: { expires, signature } };
}

/** What our cookie says; null: there is none. */
export function grantOfCookie(header: string): Grant | null {
  for (const part of header.split(';')) {
    const text = part.trim();
    if (!text.startsWith(`${ACCESS_COOKIE}=`)) continue;
    const [expires = '', signature = ''] = text.slice(ACCESS_COOKIE.length + 1).split('.', 2);
    return { expires: Number(expires), signature };
  }
  return null;
}

/** The cookie holds for this host name alone, which names sandbox and port. */
export function accessCookie({ expires, signature }: Grant, secure: boolean, nowMs = Date.now()): string {
  const maxAge = Math.max(0, expires - Math.floor(nowMs / 1000));
  const flags = `Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
  return `${ACCESS_COOKIE}=${expires}.${signature}; ${flags}`;
}

export type Verdict = 'valid' | 'expired' | 'wrong';

export function verify(
  grant: Grant,
  trafficToken: string,
  sandboxId: string,
  port: number,
  nowMs = Date.now(),
): Verdict {
  if (!Number.isSafeInteger(grant.expires)) return 'wrong';
  const wanted = Buffer.from(sign(trafficToken, sandboxId, port, grant.expires));
  const given = Buffer.from(grant.signature);
  if (wanted.length !== given.length || !timingSafeEqual(wanted, given)) return 'wrong';
  return grant.expires * 1000 > nowMs ? 'valid' : 'expired';
}
