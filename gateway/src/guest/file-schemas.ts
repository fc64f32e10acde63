import { z } from 'zod';

/** Linux takes 4095 bytes; a NUL ends a path. `..` is the guest's own business: no path leaves the VM. */
export const filePath = z
  .string()
  .min(1, 'must not be empty')
  .max(4_095, 'is too long')
  .regex(/^[^\0]*$/, 'must not contain NUL')
  .meta({ description: "Relative paths and `~` are the user's home", examples: ['/home/user/data.csv'] });

export const entryObject = z
  .object({
    name: z.string(),
    type: z.enum(['file', 'directory', 'symlink', 'other']),
    path: z.string(),
    size: z.number(),
    mode: z.int().meta({ description: 'Permission bits' }),
    permissions: z.string(),
    owner: z.string(),
    group: z.string(),
    modified_time: z.iso.datetime().nullable(),
    symlink_target: z.string().optional(),
  })
  .meta({ id: 'FileEntry' });

export const writtenObject = z
  .object({ path: z.string(), name: z.string(), bytes: z.number() })
  .meta({ id: 'WrittenFile' });
