#!/bin/sh
# Holds N websockets (1,000,000 unless told otherwise) on one machine and delivers a broadcast to all of them.
#   loadtest/million.sh [N]
# Both ends run here, so it needs about 9 KB of kernel memory and 1 KB of user memory per connection: 10 GB for a million.
# Settings (environment): REACTORS (one per 18,000 connections), MESSAGES=3, JSON=file, PORT=18091
set -eu
cd "$(dirname "$0")/.."

N=${1:-1000000}
MESSAGES=${MESSAGES:-3}
PORT=${PORT:-18091}
# A reactor's descriptor table holds what the hard limit allows; the kernel spreads connections evenly to within a percent.
LIMIT=$(ulimit -Hn)
case $LIMIT in
unlimited) TABLE=1000000 ;;
*) TABLE=$((LIMIT - LIMIT / 10)) ;;
esac
REACTORS=${REACTORS:-$(((N + TABLE - 1) / TABLE))}
[ "$REACTORS" -ge 2 ] || REACTORS=2

need_kb=$((N * 10))
free_kb=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
if [ "$free_kb" -lt "$((need_kb + 1048576))" ]; then
    echo "million: needs $((need_kb / 1024)) MB and 1 GB of air, $((free_kb / 1024)) MB are available" >&2
    exit 2
fi
files=$(cat /proc/sys/fs/file-max)
if [ "$files" -lt "$((2 * N + 100000))" ]; then
    echo "million: fs.file-max is $files, $((2 * N + 100000)) are needed" >&2
    exit 2
fi

cargo build --release -p fanwire -p loadtest >&2
target/release/fanwire dev --listen "127.0.0.1:$PORT" --reactors "$REACTORS" --log-level warn >&2 &
SERVER=$!
trap 'kill -9 "$SERVER" 2>/dev/null || true; wait "$SERVER" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
tries=0
until curl -s -o /dev/null --max-time 1 "http://127.0.0.1:$PORT/health"; do
    tries=$((tries + 1))
    if [ $tries -ge 100 ] || ! kill -0 "$SERVER" 2>/dev/null; then
        echo "million: the server does not answer" >&2
        exit 1
    fi
    sleep 0.1
done

echo "$N connections, $REACTORS reactors, $((free_kb / 1024)) MB available" >&2
# Publishing waits for all: the silence that ends a round is longer than one fan-out.
timeout 600 target/release/loadtest fanout --address "127.0.0.1:$PORT" --token dev --key dev --server-pid "$SERVER" \
    --connections "$N" --messages "$MESSAGES" --warmup 1 --connecting 4096 --settle 3s --stall 60s --timeout 480s \
    ${JSON:+--json "$JSON"}
