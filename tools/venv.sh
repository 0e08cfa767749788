#!/usr/bin/env bash
# Make the virtual environment and install the tested set into it: tools/venv.sh FOLDER
# PYTHON names the interpreter (otherwise the first of python3, python3.13 .. python3.11 that fits);
# PIP_ARGS is handed to pip, for instance an index of your own.
set -euo pipefail

folder=${1:?"say where the environment goes: tools/venv.sh FOLDER"}
root=$(cd "$(dirname "$0")/.." && pwd)

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if fits "$name"; then
            echo "$name"
            return
        fi
    done
    echo "Brushfire needs Python 3.11 or newer. Found: $(python3 --version 2>&1 || true)." \
        "Install it, or name it: make PYTHON=/path/to/python3.12" >&2
    return 1
}

# Debian and Ubuntu ship the venv module without the part that makes an environment.
ensure_venv_module() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 && return
    local package line
    package=$("$1" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
    line="apt-get install -y --no-install-recommends $package"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package ..."
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && $line -qq >/dev/null
    else
        echo "Python's venv module is missing. Run this once, then make again:" >&2
        echo "  sudo apt-get update && sudo $line" >&2
        return 1
    fi
}

python=$(find_python)
ensure_venv_module "$python"
if ! fits "$folder/bin/python"; then
    "$python" -m venv --clear "$folder"
fi
echo "Installing Brushfire into $folder; the first time this downloads some hundred megabytes ..."
# shellcheck disable=SC2086 # PIP_ARGS is a list of words
"$folder/bin/python" -m pip install -qq --disable-pip-version-check ${PIP_ARGS:-} \
    -c "$root/constraints.txt" -e "$root[all,dev]"
"$folder/bin/python" -m pip check >/dev/null || {
    "$folder/bin/python" -m pip check >&2
    exit 1
}
