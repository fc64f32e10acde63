import { z } from 'zod';

/** The control plane's settings (docs/contracts.md). `loadConfig` of core reads and checks them. */
export const configSchema = z.object({
  WRENN_LISTEN: z
    .string()
    .regex(/^.+:\d{1,5}$/, 'must be address:port')
    .default('127.0.0.1:8080'),
  WRENN_DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }),
  WRENN_REDIS_URL: z.url({ protocol: /^rediss?$/ }).default('redis://127.0.0.1:6379'),
  JWT_SECRET: z.string().min(32, 'must have at least 32 characters'),
  CP_PUBLIC_URL: z.url({ protocol: /^https?$/ }).optional(),
  WRENN_DOMAIN: z
    .string()
    .regex(/^[a-z0-9.-]+(:\d{1,5})?$/i, 'must be a domain name, with :port where clients must write one')
    .default('localhost'),
  WRENN_TLS_LISTEN: z
    .string()
    .regex(/^.+:\d{1,5}$/, 'must be address:port')
    .optional(),
  WRENN_TLS_CERT: z.string().optional(),
  WRENN_TLS_KEY: z.string().optional(),
  WRENN_PROXY_MAX_OPEN: z.coerce.number().int().min(1).default(2_000),
  WRENN_ORPHAN_GRACE_SEC: z.coerce.number().int().min(0).default(300),
  WRENN_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  WRENN_REPLICA_ADDRESS: z.string().optional(),
});

export type Config = z.output<typeof configSchema>;
