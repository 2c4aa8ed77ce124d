#!/bin/sh
# Trades -> candles -> features on one core, beside the same work in Polars and pandas: same trades, same machine, same run.
#
#   benches/features/run.sh [N_TRADES] [TRADES_PER_SECOND] [N_REPEATS]
#
# N_TRADES (default 10,000,000) simulated trades of one symbol at TRADES_PER_SECOND (default 10) of market time go into
# 10-second candles and all 16 features. What is timed starts with the trades in memory and ends with all rows in memory;
# the median of N_REPEATS (default 5) runs counts. The peers' results are checked against ours: the same candles, and
# every feature's mean to 1e-6. The Python packages go into a virtual environment of their own under
# ${XDG_CACHE_HOME:-~/.cache}/foreshock. Needs cargo, Python 3.10+ with venv, and 4 GiB of memory for 10 million trades.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
n_trades=${1:-10000000}
rate=${2:-10}
n_repeats=${3:-5}
venv=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/venv-features
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

cd "$here/../.."
cargo bench --quiet -p market --bench features -- \
    --trades "$n_trades" --rate "$rate" --repeats "$n_repeats" --write "$work/trades.bin" > "$work/ours.txt"
# One thread for each: what is compared is the work, not the number of cores.
POLARS_MAX_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    "$venv/bin/python" "$here/peers.py" "$work/trades.bin" "$n_repeats" "$work/ours.txt"
