#!/usr/bin/env bash
# Checks the dashboards with Grafana's own schema, and draws them with its front-end libraries on a live loaded stack.
#
# usage: tests/render/run.sh [FOLDER]      (pictures go to FOLDER, docs/images by default; `make test-render` calls it)
#
# What stays untested: Grafana's server, its provisioning, the round shape of the gauge, and the points of exemplars.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=$PWD
pictures=$(realpath -m "${1:-docs/images}")
target=${CARGO_TARGET_DIR:-$here/target}
bin=${CONEXUS_BIN:-$target/release}
tools=$target/test-tools/render
seconds=${SECONDS_OF_LOAD:-180}

. scripts/packages.sh
need chromium chromium
need node nodejs
need npm npm
fc-list 2>/dev/null | grep -qi dejavu || packages+=(fonts-dejavu-core)
install_packages
mkdir -p "$tools" "$pictures"
if ! cmp -s tests/render/package.json "$tools/package.json"; then
  cp tests/render/package.json "$tools/package.json"
  npm install --prefix "$tools" --legacy-peer-deps --no-audit --no-fund --no-package-lock --loglevel=error
fi
cp tests/render/*.mjs tests/render/*.jsx "$tools/"

node "$tools/schema.mjs" observability/grafana/dashboards/*.json

"$target/test-tools/venv/bin/python" tests/render/load.py "$bin" "$target/test-tools/jaeger/debug/conexus-test-jaeger" "$seconds" "$here" \
  node "$tools/render.mjs" PROMETHEUS "$seconds" "$pictures" observability/grafana/dashboards/*.json
