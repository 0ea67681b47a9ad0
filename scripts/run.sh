#!/usr/bin/env bash
# Builds Conexus, starts both processes, indexes ROOT, shows one answer, and leaves them running until Ctrl-C.
#
# usage: ROOT=/path/to/code [QUERY="..."] scripts/run.sh      (`make run` calls it)
#
# Everything Conexus can be configured with applies: CONEXUS_* variables and the configuration file.
set -euo pipefail
cd "$(dirname "$0")/.."

here=$PWD
root=${ROOT:-$here}
query=${QUERY:-where is the list of files to index put together}
mcp_port=${CONEXUS_PORT:-8080}
metrics_port=${CONEXUS_METRICS_PORT:-9091}
logs=${XDG_STATE_HOME:-$HOME/.local/state}/conexus/run

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

[ -d "$root" ] || die "ROOT=$root is not a folder"
root=$(cd "$root" && pwd)

# A taken port should cost a second, not a build. With a configuration file the ports may be others: then the processes say it.
port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
check_port() { # port, key, variable
  case $1 in ''|*[!0-9]*) die "$3=$1 is not a port number (1 to 65535)" ;; esac
  if port_is_taken "$1"; then die "port $1 is taken: $2. Set $3 to another one, or stop what listens there"; fi
}
if [ -z "${CONEXUS_CONFIG_FILE:-}" ] && [ ! -e "${XDG_CONFIG_HOME:-$HOME/.config}/conexus/config.yml" ] && [ ! -e /etc/conexus/config.yml ]; then
  check_port "$mcp_port" server.port CONEXUS_PORT
  check_port "$metrics_port" observability.metrics.port CONEXUS_METRICS_PORT
fi

say "Building (the first time takes several minutes) ..."
cargo build --release --locked --bin conexusd --bin conexus-sidecar
bin=${CARGO_TARGET_DIR:-$here/target}/release

# With job control each process is in a group of its own: Ctrl-C reaches this script, which ends them in the order of the flow.
set -m
mkdir -p "$logs"
core='' sidecar=''
finish() {
  local status=$?
  trap - EXIT INT TERM HUP
  if [ -n "$core" ]; then kill -TERM "$core" 2>/dev/null || true; wait "$core" 2>/dev/null || true; fi
  if [ -n "$sidecar" ]; then kill -TERM "$sidecar" 2>/dev/null || true; wait "$sidecar" 2>/dev/null || true; fi
  exit "$status"
}
trap finish EXIT
trap 'say; say "Stopping ..."; exit 0' INT TERM HUP

"$bin/conexus-sidecar" run >"$logs/conexus-sidecar.log" 2>&1 &
sidecar=$!
"$bin/conexusd" serve --root "$root" >"$logs/conexusd.log" 2>&1 &
core=$!

show_log() { # name
  say "--- the last lines of $logs/$1.log"
  tail -n 15 "$logs/$1.log" >&2
}
check_alive() {
  kill -0 "$core" 2>/dev/null || { show_log conexusd; core=''; die "conexusd ended"; }
  kill -0 "$sidecar" 2>/dev/null || { show_log conexus-sidecar; sidecar=''; die "conexus-sidecar ended"; }
}
for _ in $(seq 100); do
  check_alive
  if "$bin/conexusd" health >/dev/null 2>&1 && "$bin/conexus-sidecar" health >/dev/null 2>&1; then break; fi
  sleep 0.1
done
check_alive

say "Indexing $root"
"$bin/conexusd" index --root "$root"
say
say "\$ conexusd search --root $root --top-k 3 \"$query\""
"$bin/conexusd" search --root "$root" --top-k 3 "$query"
cat >&2 <<END

MCP      http://127.0.0.1:$mcp_port/mcp        (health: http://127.0.0.1:$mcp_port/health)
Metrics  http://127.0.0.1:$metrics_port/metrics
Logs     $logs
Stdio    $bin/conexusd mcp --root $root

Press Ctrl-C to stop.
END
set +e
wait -n "$core" "$sidecar"
check_alive
