import { errors, jwtVerify, SignJWT } from 'jose';

/** What a user JWT says. It proves who signed in; what he may do is read from the database each time (ID2). */
export interface UserClaims {
  readonly userId: string;
  readonly sessionId: string;
  readonly teamId: string;
}

export interface HostClaims {
  readonly hostId: string;
  /** The registration that it belongs to. */
  readonly family: string;
}

export const USER_TOKEN_SECONDS = 6 * 3_600;
export const HOST_TOKEN_SECONDS = 7 * 86_400;

const ISSUER = 'wrenn';
/** The audience keeps the two kinds apart: a host token is never a user's. */
const USER_AUDIENCE = 'wrenn:user';
const HOST_AUDIENCE = 'wrenn:host';

/** Signs and checks JSON web tokens, HS256 with the control plane's secret. */
export class Tokens {
  readonly #key: Uint8Array;

  /** `secret`: at least 32 characters; the settings refuse less. */
  constructor(secret: string) {
    this.#key = new TextEncoder().encode(secret);
  }

  signUser({ userId, sessionId, teamId }: UserClaims, expiresAt: Date): Promise<string> {
    return this.#sign({ sid: sessionId, team: teamId }, userId, USER_AUDIENCE, expiresAt);
  }

  signHost({ hostId, family }: HostClaims, expiresAt: Date): Promise<string> {
    return this.#sign({ family }, hostId, HOST_AUDIENCE, expiresAt);
  }

  /** Null for anything that is not a good token of this kind. */
  async verifyUser(token: string): Promise<UserClaims | null> {
    const payload = await this.#verify(token, USER_AUDIENCE);
    if (!payload || typeof payload.sid !== 'string' || typeof payload.team !== 'string') return null;
    return { userId: payload.sub, sessionId: payload.sid, teamId: payload.team };
  }

  async verifyHost(token: string): Promise<HostClaims | null> {
    const payload = await this.#verify(token, HOST_AUDIENCE);
    if (!payload || typeof payload.family !== 'string') return null;
    return { hostId: payload.sub, family: payload.family };
  }

  #sign(claims: Record<string, string>, subject: string, audience: string, expiresAt: Date): Promise<string> {
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .setIssuer(ISSUER)
      .setAudience(audience)
      .setSubject(subject)
      .setIssuedAt()
      .setExpirationTime(expiresAt)
      .sign(this.#key);
  }

  async #verify(token: string, audience: string): Promise<{ sub: string; [claim: string]: unknown } | null> {
    try {
      const { payload } = await jwtVerify(token, this.#key, { algorithms: ['HS256'], issuer: ISSUER, audience });
      return payload.sub === undefined ? null : { ...payload, sub: payload.sub };
    } catch (error) {
      if (error instanceof errors.JOSEError) return null;
      throw error;
    }
  }
}
