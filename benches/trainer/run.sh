#!/bin/sh
# `trainer run`, end to end, beside the same job in pandas and scikit-learn: same table, same machine, same run.
#
#   benches/trainer/run.sh [N_ROWS] [RUNS] [PEER_RUNS]
#
# N_ROWS (default 10,000,000) rows × 12 features of 20 symbols in one Parquet file are read, split in time, fitted on
# (100 trees of 256 rows), scored, given thresholds per symbol by an alert budget, and judged, beside the largest |z|;
# ours also hashes the data, draws the report and registers the model. Twice: with 95 % intervals from 200 resamples of
# a block bootstrap, which is what `trainer run` does unless told otherwise, and without. Both run RUNS times (default
# 3) in turns, the peer PEER_RUNS times (default RUNS) if it shall not take so long; medians of the wall time count.
# The peer uses all cores, too. Its metrics stand beside ours: they agree within noise.
#
# The table (1 GiB), the virtual environment of the peer and what the runs write go into
# ${XDG_CACHE_HOME:-~/.cache}/foreshock. Needs cargo, Python 3.11+ with venv, and 8 GiB of memory for the peer.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
n_rows=${1:-10000000}
runs=${2:-3}
peer_runs=${3:-$runs}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock
venv=$cache/venv-trainer
work=$cache/bench-trainer
table=$work/table-$n_rows.parquet
mkdir -p "$work/runs"

# The environment is made anew when the pins change.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "making $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
if [ ! -f "$table" ]; then
    echo "making $table" >&2
    "$venv/bin/python" "$here/generate.py" "$table.tmp" "$n_rows"
    mv "$table.tmp" "$table"
fi

cd "$here/../.."
cargo build --quiet --release --workspace --bins
trainer=${CARGO_TARGET_DIR:-$PWD/target}/release/trainer
echo "$n_rows rows × 12 features, $(nproc) cores"
for n_resamples in 200 0; do
    "$venv/bin/python" "$here/compare.py" "$trainer" "$here/experiment.toml" "$table" "$work/runs" \
        "$n_resamples" "$runs" "$peer_runs"
done
