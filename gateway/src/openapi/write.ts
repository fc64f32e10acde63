import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiRoutes } from '../app.ts';
import { openApiYaml } from './document.ts';

/** `node gateway/src/openapi/write.ts [--check]`: writes docs/openapi.yaml, or fails when it is not current. */
const FILE = join(import.meta.dirname, '../../../docs/openapi.yaml');
const text = openApiYaml(apiRoutes);

if (!process.argv.includes('--check')) {
  writeFileSync(FILE, text);
} else if (readFileSync(FILE, 'utf8') !== text) {
  console.error('docs/openapi.yaml is not current: run `node gateway/src/openapi/write.ts`');
  process.exitCode = 1;
}
