#!/usr/bin/env bash
# More clients than descriptors: the excess is told 503, those inside notice nothing, and room that comes free is used.
# Needs Linux, Node and a release build.
set -euo pipefail
cd "$(dirname "$0")"
exec node --test descriptors.test.js
