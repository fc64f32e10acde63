import pino, { type DestinationStream, type Logger } from 'pino';

export type { Logger } from 'pino';

/** Names under which secrets travel. Redacted at the top of a log line and one and two levels down. */
const SECRET_NAMES = [
  'password',
  'secret',
  'token',
  'jwt',
  'authorization',
  'cookie',
  'api_key',
  'apiKey',
  'access_token',
  'traffic_token',
  'refresh_token',
  'registration_token',
  'control_plane_secret',
  'key_pem',
  'envs',
  '["x-api-key"]',
  '["x-access-token"]',
  '["wrenn-authorization"]',
  '["set-cookie"]',
];

const join = (prefix: string, name: string) => (name.startsWith('[') ? `${prefix}${name}` : `${prefix}.${name}`);
const REDACTED_PATHS = SECRET_NAMES.flatMap((name) => [name, join('*', name), join('*.*', name)]);

/** A JSON-lines logger on stdout (or `destination`) that never prints secrets. */
export function createLogger(
  options: { readonly name: string; readonly level?: string },
  destination?: DestinationStream,
): Logger {
  const settings = {
    name: options.name,
    level: options.level ?? 'info',
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  return destination ? pino(settings, destination) : pino(settings);
}

/** Says nothing: the default of library code. */
export const silentLog: Logger = pino({ level: 'silent' });
