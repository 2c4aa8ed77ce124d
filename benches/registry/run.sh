#!/bin/sh
# The registry beside `mlflow server`, both on PostgreSQL: requests per second, times, processor time.
#
#   benches/registry/run.sh [--turns 3] [--seconds 4] [--workers 4] [--runs 10000] [--only SCENARIO] [--ours]
#
# One generator (registry/examples/load.rs) sends the same requests to both, in turns; medians of the turns count.
# Each server has a database of its own in a PostgreSQL that is started for both (Debian: apt-get install postgresql);
# one of them runs at a time.
# `--ours` leaves MLflow out. MLflow and its driver, pinned in tests/mlflow_client/requirements.txt, go into an
# environment in ${XDG_CACHE_HOME:-~/.cache}/foreshock, made at the first run. Filling MLflow's database takes minutes.
set -eu
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/foreshock/target}"
venv="${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/venv-reference"
requirements=tests/mlflow_client/requirements.txt
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi
cargo build --quiet --release --locked -p registry --bin registry --example load
exec "$venv/bin/python" benches/registry/compare.py "$CARGO_TARGET_DIR/release" "$@"
