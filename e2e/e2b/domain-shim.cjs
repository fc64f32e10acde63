// Names below the stack's domain are this machine, as they are for browsers and curl where the domain is `localhost`;
// the C library knows none of them. Preloaded (`node --require`) into programs that a test runs.
const dns = require('node:dns');

const suffix = `.${(process.env.WRENN_SHIM_DOMAIN ?? 'localhost').replace(/:\d+$/, '')}`;
const lookup = dns.lookup;
dns.lookup = function shimmed(name, options, callback) {
  const host = typeof name === 'string' && name.endsWith(suffix) ? '127.0.0.1' : name;
  return lookup.call(this, host, options, callback);
};
