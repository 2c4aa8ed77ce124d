#!/bin/sh
# Runs the MLflow client's checks against the registry binary named by FORESHOCK_REGISTRY_BIN
# (default: target/debug/registry), on SQLite and, where PostgreSQL is installed, on a PostgreSQL
# server of their own; with --reference against MLflow's own server as well: all results in one table.
# Creates the environment when it is missing or when requirements.txt changed; builds nothing.
# Other arguments go to pytest.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv="${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/venv-reference"
FORESHOCK_REGISTRY_BIN="${FORESHOCK_REGISTRY_BIN:-$here/../../target/debug/registry}"
export FORESHOCK_REGISTRY_BIN

if [ ! -x "$FORESHOCK_REGISTRY_BIN" ]; then
    echo "no registry at $FORESHOCK_REGISTRY_BIN: run 'cargo build -p registry' first," >&2
    echo "or name the binary in FORESHOCK_REGISTRY_BIN" >&2
    exit 2
fi
if ! command -v python3 >/dev/null 2>&1; then
    echo "python3 is missing: install it (Debian: apt-get install python3 python3-venv)" >&2
    exit 2
fi
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv" || {
        echo "can't create a virtual environment (Debian: apt-get install python3-venv)" >&2
        exit 2
    }
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    # Last, so that an interrupted installation is done again.
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
# Everything, unless an argument names a file of tests.
all="$here"
for argument in "$@"; do
    if [ -e "${argument%%::*}" ]; then
        all=
    fi
done
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider -c "$here/pytest.ini" ${all:+"$all"} "$@"
