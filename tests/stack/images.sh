#!/usr/bin/env bash
# Builds the images: stand-ins for those that would be pulled, then ours from the Dockerfile.
#
# usage: tests/stack/images.sh [FOLDER_OF_PROGRAMS]      (DOCKER_HOST and DOCKER_CONFIG say where)
#
# Nothing is pulled. A stand-in has the upstream image's name, user, paths and health-check program, and Debian's build of
# what is in it. Ours are the real Dockerfile, with programs built outside instead of its first stage. Without a folder only
# stand-ins are made, that of the first stage too: source.py then builds ours.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=${1:+$(realpath "$1")}
tools=${CARGO_TARGET_DIR:-$PWD/target}/test-tools/stack
debs=$tools/debs
work=$(mktemp -d "${TMPDIR:-/tmp}/conexus-images.XXXXXX")
trap 'rm -rf "$work"' EXIT

unpack() { # folder, packages...
  local folder=$1 name
  shift
  mkdir -p "$folder/tmp" "$folder/etc"
  chmod 1777 "$folder/tmp"
  for name in "$@"; do dpkg-deb -x "$debs/$name"_*.deb "$folder"; done
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' > "$folder/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n' > "$folder/etc/group"
}
import() { # folder, name, changes...
  local folder=$1 name=$2 change arguments=()
  shift 2
  for change in "$@"; do arguments+=(--change "$change"); done
  tar -C "$folder" -c . | docker import "${arguments[@]}" - "$name" > /dev/null
  echo "  $name"
}
upstream() { sed -nE "s|.*image: ($1:.*)|\1|p" docker-compose.observability.yml; }

echo "Stand-ins:"
base=$work/base
unpack "$base" libc6 libgcc-s1 libstdc++6 ca-certificates
mkdir -p "$base/etc/ssl/certs" "$base/home/nonroot" "$base/run"
find "$base/usr/share/ca-certificates" -name '*.crt' -exec cat {} + > "$base/etc/ssl/certs/ca-certificates.crt"
import "$base" "$(sed -n 's/^ARG RUNTIME_IMAGE=//p' Dockerfile)" 'USER 65532' 'WORKDIR /home/nonroot' \
  'ENV PATH=/usr/local/bin:/usr/bin:/bin' 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt'

shell() { mkdir -p "$1/bin"; ln -sf busybox "$1/bin/wget"; ln -sf busybox "$1/bin/sh"; }

watch=$work/prometheus
unpack "$watch" libc6 busybox-static prometheus
shell "$watch"
ln -s /usr/bin/prometheus "$watch/bin/prometheus"
mkdir -p "$watch/prometheus" "$watch/etc/prometheus"
chown 65534:65534 "$watch/prometheus"
import "$watch" "$(upstream prom/prometheus)" 'USER 65534' 'WORKDIR /prometheus' 'VOLUME /prometheus' 'EXPOSE 9090' \
  'ENTRYPOINT ["/bin/prometheus"]' 'ENV PATH=/bin:/usr/bin'

route=$work/alertmanager
unpack "$route" libc6 busybox-static prometheus-alertmanager
shell "$route"
ln -s /usr/bin/prometheus-alertmanager "$route/bin/alertmanager"
# Debian's build reads its pages from here; upstream's has them inside.
mkdir -p "$route/alertmanager" "$route/etc/alertmanager" "$route/usr/share/prometheus/alertmanager"
chown 65534:65534 "$route/alertmanager"
import "$route" "$(upstream prom/alertmanager)" 'USER 65534' 'WORKDIR /alertmanager' 'VOLUME /alertmanager' 'EXPOSE 9093' \
  'ENTRYPOINT ["/bin/alertmanager"]' 'ENV PATH=/bin:/usr/bin'

python=$work/python
unpack "$python" libc6 busybox-static python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libexpat1 zlib1g
shell "$python"
cp tests/stack/listener.py "$python/listener.py"
listener() { import "$python" "$1" 'USER 65534' "ENTRYPOINT [\"/usr/bin/python3.11\", \"/listener.py\", $2]"; }
listener webhook '"9095"'
# For these two there is nothing to stand in with: only their ports, so that the whole file can be brought up.
listener "$(upstream grafana/grafana)" '"3000"'
listener "$(upstream jaegertracing/jaeger)" '"16686", "4318"'

git=$work/git
unpack "$git" libc6 busybox-static git libpcre2-8-0 zlib1g
shell "$git"
for tool in sleep mkdir ls cat rm test id; do ln -sf busybox "$git/bin/$tool"; done
import "$git" "$(sed -nE 's|^ +image: (alpine/git:.*)|\1|p' helm/conexus/values.yaml)" 'ENTRYPOINT ["git"]' 'ENV PATH=/bin:/usr/bin'

if [ -z "$programs" ]; then
  # Debian with a compiler, and this machine's Rust where the official image has it.
  name=$(sed -n 's/^ARG BUILD_IMAGE=//p' Dockerfile)
  version=${name#rust:}
  version=${version%%-*}
  [[ "$(rustc --version)" == "rustc $version "* ]] || { echo "error: $name is asked for, but here is $(rustc --version)" >&2; exit 1; }
  docker import "$tools/build-root.tar" conexus-build-root > /dev/null
  rust=/usr/local/rustup/toolchains/$version
  printf '%s\n' 'FROM conexus-build-root' "COPY bin/cargo bin/rustc $rust/bin/" "COPY lib $rust/lib" \
    "RUN mkdir -p /usr/local/cargo/bin && ln -s $rust/bin/cargo $rust/bin/rustc /usr/local/cargo/bin/" \
    "ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo RUST_VERSION=$version" \
    'ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' > "$work/Dockerfile"
  docker buildx build --quiet --network none --file "$work/Dockerfile" --tag "$name" "$(rustc --print sysroot)" > /dev/null
  echo "  $name"
  exit
fi

echo "Ours:"
made=$work/programs
mkdir -p "$made/out/empty"
for program in conexusd conexusd.dwp conexus-sidecar conexus-sidecar.dwp; do
  objcopy --compress-debug-sections "$programs/$program" "$made/out/$program"
done
import "$made" conexus-programs
for target in conexus conexus-sidecar; do
  docker buildx build --quiet --network none --build-arg BINARIES=conexus-programs --target "$target" --tag "$target:0.1.0" . > /dev/null
  echo "  $target:0.1.0  $(docker image inspect "$target:0.1.0" --format '{{.Size}}' | numfmt --to=iec)"
done
