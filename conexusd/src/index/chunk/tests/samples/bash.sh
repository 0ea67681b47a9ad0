#!/usr/bin/env bash
source ./lib.sh
. "/etc/profile"
readonly MAX=3
export PATH=/usr/bin
NAME=none

# Says hello.
greet() {
  local who="$1"
  cat <<EOF
Hello, $who
not_a_function() {
EOF
}

function leave {
  exit "$MAX"
}
greet "$NAME"
