#!/usr/bin/env bash
# Installs what the build and the tests need: Debian packages of packages.txt that are missing (through apt-get, with sudo
# when not root) and a virtual environment build/venv with the pinned requirements and the package python/ in place.
# Runs in a moment, and prints nothing, when there is nothing to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wanted=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' packages.txt)
missing=()
for package in $wanted; do
  status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $status == ii* ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "setup: installing ${missing[*]}"
  as_root=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || { echo "setup: error: not root and no sudo: install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

venv=build/venv
stamp=$venv/.setup-stamp
key=$(cat requirements.txt python/pyproject.toml | sha256sum | cut -d' ' -f1)-$PWD
if [[ ! -f $stamp || $(cat "$stamp") != "$key" || ! -x $venv/bin/python ]]; then
  echo "setup: virtual environment $venv"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: error: python 3.11 or newer is needed" >&2; exit 1; }
  rm -rf "$venv"
  mkdir -p build
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation --no-deps -C wheel.cmake=false -e python
  printf '%s' "$key" >"$stamp"
fi
