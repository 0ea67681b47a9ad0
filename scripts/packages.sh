# Packages: installs the Debian packages whose commands are missing, as root or through sudo. To be sourced.
#
#   need COMMAND PACKAGE   notes the package unless the command is there; `packages+=(PACKAGE)` notes one for another reason
#   install_packages       installs what was noted
set -euo pipefail
packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }

install_packages() {
  local sudo=()
  [ ${#packages[@]} -gt 0 ] || return 0
  echo "To install with apt-get: ${packages[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "error: this needs root, and there is no sudo. Run as root: apt-get install --no-install-recommends ${packages[*]}" >&2
      exit 1
    fi
    sudo=(sudo)
    echo "This needs root: sudo may ask for your password."
  fi
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
}
