#!/bin/sh
# Runs fanwire and its peers one after the other with the same load client, and prints one table.
#   loadtest/compare.sh [fanwire nchan ws-send ws-framed tokio tokio-tuned]
# Settings (environment): N="1000 5000" MESSAGES=100 WINDOWS="1 16" THREADS=1 (server threads) JSON=file LONE=1 (a lone message at a low rate, too)
# Peers come from package registries: apt (needs root when they are not installed yet), npm, cargo. A peer that cannot run has a row that says so, and the exit status is 1.
set -eu
cd "$(dirname "$0")/.."

N=${N:-"1000 5000"}
MESSAGES=${MESSAGES:-100}
WINDOWS=${WINDOWS:-"1 16"}
THREADS=${THREADS:-1}
PORT=${PORT:-18090}
PEERS=${*:-"fanwire nchan ws-send ws-framed tokio tokio-tuned"}
WORK=$(mktemp -d)
JSON=${JSON:-$WORK/results.jsonl}
SERVER=
STATUS=0

stop() {
    if [ -n "$SERVER" ]; then
        kill "$SERVER" 2>/dev/null || true
        wait "$SERVER" 2>/dev/null || true
        SERVER=
    fi
}
trap 'stop; rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM

install_peer() {
    case $1 in
    nchan)
        [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] && [ -x /usr/sbin/nginx ] && return 0
        apt-get update && apt-get install -y --no-install-recommends nginx-light libnginx-mod-nchan
        ;;
    ws-*) (cd loadtest/peers/ws && npm install --no-audit --no-fund --no-package-lock) ;;
    tokio*) (cd loadtest/peers/tokio && cargo build --release) ;;
    fanwire) cargo build --release -p fanwire ;;
    *) echo "no such peer: $1" >&2; return 1 ;;
    esac
}

# Starts a fresh server; the load client reads CPU and memory of $PIDS.
start() {
    case $1 in
    fanwire)
        target/release/fanwire dev --listen "127.0.0.1:$PORT" --reactors "$THREADS" --log-level error >"$WORK/server.log" 2>&1 &
        ;;
    nchan)
        sed -e "s|WORKERS|$THREADS|; s|PORT|$PORT|; s|DIRECTORY|$WORK|" loadtest/peers/nchan/nginx.conf >"$WORK/nginx.conf"
        /usr/sbin/nginx -e stderr -p "$WORK" -c "$WORK/nginx.conf" >"$WORK/server.log" 2>&1 &
        ;;
    ws-*) node loadtest/peers/ws/server.js "$PORT" "${1#ws-}" >"$WORK/server.log" 2>&1 & ;;
    tokio) loadtest/peers/tokio/target/release/peer-tokio "$PORT" "$THREADS" default >"$WORK/server.log" 2>&1 & ;;
    tokio-tuned) loadtest/peers/tokio/target/release/peer-tokio "$PORT" "$THREADS" tuned >"$WORK/server.log" 2>&1 & ;;
    esac
    SERVER=$!
    tries=0
    until curl -s -o "$WORK/answer" --max-time 1 "http://127.0.0.1:$PORT/" || [ $tries -ge 50 ]; do
        kill -0 "$SERVER" 2>/dev/null || break
        # A server that speaks only websockets ends a plain request without an answer: it is there all the same.
        tries=$((tries + 1))
        sleep 0.1
        [ "$1" = tokio ] || [ "$1" = tokio-tuned ] && [ $tries -ge 10 ] && break
    done
    kill -0 "$SERVER" 2>/dev/null || return 1
    PIDS=$SERVER
    for child in $(cat "/proc/$SERVER/task/$SERVER/children"); do
        PIDS="$PIDS,$child"
    done
}

run() {
    peer=$1
    shift
    case $peer in
    fanwire) form="--token dev --key dev --publish-to publish" ;;
    nchan) form="--dialect plain --publish-to pub" ;;
    *) form="--dialect plain --publish-to publish" ;;
    esac
    # shellcheck disable=SC2086
    target/release/loadtest "$@" --address "127.0.0.1:$PORT" --server-pid "$PIDS" $form --json "$JSON" >"$WORK/out" 2>&1
}

cargo build --release -p loadtest >&2
printed=
print() {
    # The header once, then the peer's name in front of each row; failures below it.
    if [ -z "$printed" ]; then
        printed=1
        sed -n '1s/^/| server /p; 2s/^/| -- /p' "$WORK/out"
    fi
    sed -n "3s/^/| $1 /p" "$WORK/out"
    sed -n "s/^FAILED: /| $1 | FAILED: /p" "$WORK/out"
}

for peer in $PEERS; do
    if ! install_peer "$peer" >"$WORK/install.log" 2>&1; then
        echo "| $peer | FAILED: cannot be installed: $(tail -1 "$WORK/install.log")"
        STATUS=1
        continue
    fi
    for n in $N; do
        for window in $WINDOWS; do
            if ! start "$peer"; then
                echo "| $peer | FAILED: does not start: $(tail -1 "$WORK/server.log")"
                STATUS=1
                stop
                continue
            fi
            run "$peer" fanout --connections "$n" --messages "$((MESSAGES * window))" --window "$window" || STATUS=1
            print "$peer"
            stop
        done
    done
    if [ -n "${LONE:-}" ]; then
        for n in 1 1000; do
            if start "$peer"; then
                run "$peer" fanout --connections "$n" --messages 200 --rate 20 || STATUS=1
                print "$peer"
            fi
            stop
        done
    fi
done
tail -2 "$WORK/out" | grep '^Linux' || true
exit $STATUS
