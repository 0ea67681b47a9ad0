#!/usr/bin/env bash
# Installs what `make test-stack` runs on: a container engine with compose and BuildKit, podman, and the Debian packages
# that its stand-ins for upstream images are made of. What is there already is kept. Only apt needs root or sudo.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${CARGO_TARGET_DIR:-$PWD/target}/test-tools/stack
. scripts/packages.sh
need dockerd docker.io
need docker docker.io
need podman podman
need runc runc
need catatonit catatonit
need ip iproute2
need git git
need make make
install_packages

mkdir -p "$tools"

# Compose and BuildKit's client are in the next Debian: fetched with lists of their own, and unpacked instead of installed.
plugins=$tools/docker/cli-plugins
if [ ! -x "$plugins/docker-compose" ] || [ ! -x "$plugins/docker-buildx" ]; then
  echo "docker-compose and docker-buildx, from Debian 13"
  apt=$tools/apt
  rm -rf "$apt"
  mkdir -p "$apt"/{parts,state/lists/partial,cache/archives/partial} "$plugins"
  printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian' 'Suites: trixie' 'Components: main' \
    'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' > "$apt/parts/trixie.sources"
  own=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/parts" -o "Dir::State=$apt/state"
       -o Dir::State::status=/dev/null -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o APT::Update::Post-Invoke= )
  apt-get "${own[@]}" update -qq
  (cd "$apt" && apt-get "${own[@]}" download -qq docker-compose docker-buildx)
  for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$apt/out"; done
  find "$apt/out" -type f -perm -u+x \( -name docker-compose -o -name docker-buildx \) -exec cp {} "$plugins/" \;
  rm -rf "$apt"
fi

# What the stand-ins are made of: the base's libraries, Prometheus, Alertmanager, a shell for their health checks, and a Python and a git.
debs=$tools/debs
wanted="libc6 libgcc-s1 libstdc++6 ca-certificates busybox-static prometheus prometheus-alertmanager
  python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libexpat1 zlib1g git libpcre2-8-0"
if [ "$(cat "$debs/complete" 2>/dev/null || true)" != "$wanted" ]; then
  echo "Debian packages for stand-in images"
  rm -rf "$debs"
  mkdir -p "$debs"
  # shellcheck disable=SC2086
  (cd "$debs" && apt-get -o APT::Sandbox::User=root download -qq $wanted)
  echo "$wanted" > "$debs/complete"
fi
