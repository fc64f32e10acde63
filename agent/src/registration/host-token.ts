/** Renewed when so much of its life is over (H2: before it expires, not after a refusal). */
const RENEW_AFTER = 0.8;

/** When a host token is due for renewal, in milliseconds since 1970. One that cannot be read is due now. */
export function renewalDue(jwt: string): number {
  try {
    const { iat, exp } = JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());
    if (Number.isFinite(iat) && Number.isFinite(exp)) return (iat + (exp - iat) * RENEW_AFTER) * 1000;
  } catch {} // not a token of ours
  return 0;
}
