import pg from 'pg';

/** True when the outcome of what was sent is unknown: the connection broke, or the server ended it. */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError) return false; // a value that cannot be sent
  if (!(error instanceof pg.DatabaseError)) return true; // sockets, timeouts, a client that was ended: never the server's word
  const { code = '' } = error;
  return code.startsWith('08') || code.startsWith('57P');
}

/** Errors that pass by themselves: rollbacks by concurrency, resources, locks, a cancelled statement. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return false;
  const { code = '' } = error;
  return code.startsWith('40') || code.startsWith('53') || code.startsWith('55P03') || code.startsWith('57014');
}
