#!/bin/sh
# What each detector makes of injected anomalies, by kind and magnitude, with 95 % intervals.
#
#   benches/injected/run.sh [--real] [--days N] [--symbols N] [--seed N] [--magnitudes 3,10,30,100] [--kinds KIND,…]
#
# One `trainer run` for each kind and magnitude, fitted on the same clean rows: on a simulated market, or with
# `--real` on the minute candles of experiments/data. Needs cargo and Python 3.11+ (no packages); some ten minutes on
# two cores.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
if [ -z "${FORESHOCK_TRAINER:-}" ]; then
    cargo build --quiet --release -p trainer
    FORESHOCK_TRAINER=${CARGO_TARGET_DIR:-$root/target}/release/trainer
fi
exec python3 "$here/table.py" "$FORESHOCK_TRAINER" "$root/experiments/data/btcusd-1m.parquet" "$@"
