#!/usr/bin/env bash
# Runs what people deploy: the images, the compose stack and the Helm chart's pod, on a container engine of its own.
#
# usage: [FROM_SOURCE=1] tests/stack/run.sh [compose] [pod]      (both by default; `make test-stack` calls it; needs root or sudo)
#
# Everything happens in network, mount and process namespaces made for it: the default ports are free there whatever this
# machine runs, and nothing outlives it. Grafana and Jaeger are not run: their images cannot be had from a package registry.
# The programs in the images are those of target/release. With FROM_SOURCE the images are built as users build them, from
# source; only then have the namespaces a way out, for the crates.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(id -u)" -ne 0 ]; then exec sudo -E "$0" "$@"; fi
target=${CARGO_TARGET_DIR:-$PWD/target}
say() { printf '\n=== %s (%s)\n' "$*" "$(date -u +%H:%M:%S)"; }

if [ -z "${STACK_INSIDE:-}" ]; then
  say "tools"
  scripts/install-test-backends.sh
  tests/stack/tools.sh
  for program in conexusd conexus-sidecar; do
    [ -n "${FROM_SOURCE:-}" ] || [ -x "$target/release/$program" ] || { echo "error: $target/release/$program is not built: cargo build --release --bins" >&2; exit 1; }
  done
  net=(--net)
  [ -z "${FROM_SOURCE:-}" ] || net=()
  exec env STACK_INSIDE=1 unshare "${net[@]}" --mount --pid --fork --kill-child --mount-proc "$0" "$@"
fi

# A short path: a unix socket's may have no more than 107 bytes.
work=${STACK_WORK:-$(mktemp -d /tmp/cxstack.XXXXXX)}
if [ -n "${FROM_SOURCE:-}" ] && [ -z "${STACK_WORK:-}" ]; then
  # A network of its own, and a process outside of it that carries its connections. It ends with the process namespace.
  touch "$work/net"
  unshare --net="$work/net" true
  trap 'umount "$work/net"; rm -rf --one-file-system "$work"' EXIT
  slirp4netns --netns-type=path --configure --mtu=65520 --disable-host-loopback "$work/net" tap0 > "$work/slirp.log" 2>&1 &
  for _ in $(seq 100); do nsenter --net="$work/net" ip route | grep -q ^default && break; sleep 0.1; done
  nsenter --net="$work/net" ip route | grep -q ^default || { cat "$work/slirp.log" >&2; exit 1; }
  echo 'nameserver 10.0.2.3' > "$work/resolv.conf"
  mount --bind "$work/resolv.conf" "$(realpath /etc/resolv.conf)"
  exec env STACK_WORK="$work" nsenter --net="$work/net" "$0" "$@"
fi
ip link set lo up
export DOCKER_BUILDKIT=1 DOCKER_CONFIG=$target/test-tools/stack/docker DOCKER_HOST=unix://$work/docker.sock
network=(--iptables=false --ip6tables=false --bridge=none)
[ -z "${FROM_SOURCE:-}" ] || network=(--ip6tables=false)
dockerd "${network[@]}" --data-root "$work/data" --exec-root "$work/exec" \
  --pidfile "$work/pid" --host "$DOCKER_HOST" > "$work/dockerd.log" 2>&1 &
engine=$!
finish() {
  local status=$?
  trap - EXIT
  # Containers first: their control groups do not end with the namespaces.
  docker ps -aq | xargs -r docker rm -f > /dev/null 2>&1 || true
  kill -TERM "$engine" 2>/dev/null || { echo "--- the engine ended by itself; its last lines:" >&2; tail -n 20 "$work/dockerd.log" >&2; }
  wait "$engine" 2>/dev/null || true
  umount -R "$work" 2>/dev/null || true
  grep -o " $work[^ ]*" /proc/self/mountinfo | sort -r | xargs -r umount -l 2>/dev/null || true
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
for _ in $(seq 300); do docker version > /dev/null 2>&1 && break; kill -0 "$engine" 2>/dev/null || exit 1; sleep 0.2; done

say "images"
if [ -n "${FROM_SOURCE:-}" ]; then
  tests/stack/images.sh
  parts=(source)
else
  tests/stack/images.sh "$target/release"
  parts=()
fi
for part in "${@:-}"; do
  case $part in
    compose) parts+=(compose) ;;
    pod) parts+=(pod) ;;
    '') parts+=(compose pod) ;;
    *) echo "error: $part is neither compose nor pod" >&2; exit 64 ;;
  esac
done
for part in "${parts[@]}"; do
  say "$part"
  PYTHONUNBUFFERED=1 "$target/test-tools/venv/bin/python" "tests/stack/$part.py" "$work"
done
say "done"
