#!/usr/bin/env bash
# Draws the trace of a search in Jaeger's interface with Chromium.
#
# usage: tests/jaeger/picture.sh [FILE]      (docs/images/jaeger-trace.png by default)
#
# Needs both programs in target/release and what scripts/install-test-backends.sh installs; installs Chromium and Node.js if they are missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

picture=$(realpath -m "${1:-docs/images/jaeger-trace.png}")
target=${CARGO_TARGET_DIR:-$PWD/target}
bin=$(realpath "${CONEXUS_BIN:-$target/release}")
tools=$target/test-tools/jaeger-picture
# Not a setting of the programs', which refuse what they do not know.
unset CONEXUS_BIN

. scripts/packages.sh
need chromium chromium
need node nodejs
need npm npm
fc-list 2>/dev/null | grep -qi dejavu || packages+=(fonts-dejavu-core)
install_packages
mkdir -p "$tools" "$(dirname "$picture")"
[ -d "$tools/node_modules/playwright-core" ] ||
  npm install --prefix "$tools" --no-audit --no-fund --no-package-lock --loglevel=error playwright-core@1.65.1
cp tests/jaeger/picture.mjs "$tools/"

home=$(mktemp -d)
pids=()
stop() {
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait || true
  rm -rf "$home"
}
trap stop EXIT

# Repeats a command for a minute until it succeeds.
wait_for() {
  for _ in {1..300}; do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  echo "error: not within a minute: $*" >&2
  cat "$home"/*.log >&2
  exit 1
}

"$target/test-tools/jaeger/debug/conexus-test-jaeger" >"$home/jaeger.json" &
pids+=($!)
wait_for test -s "$home/jaeger.json"
ui=$(jq -r .ui "$home/jaeger.json")

export HOME=$home XDG_RUNTIME_DIR=$home XDG_STATE_HOME=$home/state XDG_DATA_HOME=$home/data XDG_CONFIG_HOME=$home/config
export CONEXUS_METRICS_PORT=0 CONEXUS_PORT=0 CONEXUS_TRACING_ENABLED=true
CONEXUS_TRACING_ENDPOINT=http://$(jq -r .http "$home/jaeger.json")
export CONEXUS_TRACING_ENDPOINT
"$bin/conexus-sidecar" run 2>"$home/sidecar.log" &
pids+=($!)
"$bin/conexusd" serve --root docs 2>"$home/conexusd.log" &
pids+=($!)
address() { jq -R -r -e 'fromjson? | select(.message == "listening") | .address' "$home/conexusd.log"; }
wait_for address
indexed() { curl -fsS "http://$(address)/health" | jq -e '.index.phase == "idle"'; }
wait_for indexed

"$target/test-tools/venv/bin/python" tests/python/drive.py http "http://$(address)/mcp" >/dev/null <<'OPERATIONS'
[{"call": "context_search", "arguments": {"query": "how long do traces wait for a collector"}}]
OPERATIONS
trace=$(jq -R -r 'fromjson? | select(.message == "MCP request completed" and .method == "context_search") | .trace_id' "$home/conexusd.log")
wait_for curl -fsS "http://$ui/api/traces/$trace"
node "$tools/picture.mjs" "http://$ui/trace/$trace" "$picture"
