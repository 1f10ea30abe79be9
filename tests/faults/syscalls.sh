#!/usr/bin/env bash
# System calls that fail under a running server, and their order when none does. Needs Linux, strace and the right to attach it to
# a process, Node and a release build.
set -euo pipefail
cd "$(dirname "$0")"
exec node --test syscalls.test.js
