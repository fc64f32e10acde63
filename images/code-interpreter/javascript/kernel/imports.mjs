import { createRequire, registerHooks } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { IMPORT } from './rewrite.mjs';

/** Gives cells `require` and `import` as a file in the working directory would have them. */
export function installImports() {
  const here = () => join(process.cwd(), 'cell.mjs');
  registerHooks({
    resolve: (specifier, context, next) =>
      context.parentURL === import.meta.url
        ? next(specifier, { ...context, parentURL: pathToFileURL(here()).href })
        : next(specifier, context),
  });
  const hidden = (value) => ({ value, writable: true, configurable: true, enumerable: false });
  Object.defineProperties(globalThis, {
    [IMPORT]: hidden((specifier, options) => import(specifier, options)),
    require: hidden(
      Object.assign((id) => createRequire(here())(id), { resolve: (id) => createRequire(here()).resolve(id) }),
    ),
  });
}
