#!/usr/bin/env bash
# Installs what `make test-stack` runs on: a container engine with compose and BuildKit, podman, and the Debian packages
# that its stand-ins for upstream images are made of. With FROM_SOURCE=1 also the root of the image that programs are built
# in, and what gives the engine a way out to the crates. What is there already is kept. Only apt and debootstrap need root.
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
if [ -n "${FROM_SOURCE:-}" ]; then
  need debootstrap debootstrap
  need slirp4netns slirp4netns
  need iptables iptables
fi
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

# What rust:*-bookworm has besides Rust, as far as a build of ours needs it.
root=$tools/build-root.tar
if [ -n "${FROM_SOURCE:-}" ] && [ ! -e "$root" ]; then
  echo "A Debian 12 root to build in (debootstrap)"
  made=$(mktemp -d "${TMPDIR:-/tmp}/conexus-root.XXXXXX")
  debootstrap --variant=minbase --include=build-essential,ca-certificates,git,pkg-config bookworm "$made" http://deb.debian.org/debian > "$tools/debootstrap.log" \
    || { tail -n 20 "$tools/debootstrap.log" >&2; exit 1; }
  rm -rf "$made"/var/cache/apt/archives/*.deb "$made"/var/lib/apt/lists/*
  # What this machine trusts is trusted inside too: crates may come past a proxy.
  cp /etc/ssl/certs/ca-certificates.crt "$made/etc/ssl/certs/"
  tar -C "$made" -c . > "$root.new"
  rm -rf --one-file-system "$made"
  mv "$root.new" "$root"
fi
