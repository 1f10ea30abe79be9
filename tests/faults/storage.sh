#!/usr/bin/env bash
# A disk that gets full and gets room again under a running server. Needs Linux, root (it mounts a tmpfs), Node and a release build.
set -euo pipefail
cd "$(dirname "$0")"
exec node --test storage.test.js
