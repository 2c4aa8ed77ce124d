#!/bin/sh
# Detectors beside the Python peers: how well they find, and how fast.
#
#   benches/detectors/run.sh quality DIR_OF_ADBENCH_NPZ [SEEDS]
#   benches/detectors/run.sh speed [--torch] [--rust-peers] [RUNS]
#
# `quality` prints ROC-AUC and average precision of every detector beside scikit-learn's, isotree's and
# PyOD's over the labelled tables (10 seeds unless said otherwise, about ten minutes on two cores). `speed`
# prints times on one core; with `--torch` beside PyTorch too, whose packages are gigabytes, with `--rust-peers` DBSCAN beside
# linfa-clustering and smartcore (up to two minutes each). The Python
# packages, pinned in requirements.txt, go into an environment in ${XDG_CACHE_HOME:-~/.cache}/foreshock,
# made at the first run. Needs cargo, Python 3.11+ with venv, and a C++ compiler (isotree comes as source).
set -eu

usage() {
    echo "usage: $0 quality DIR_OF_ADBENCH_NPZ [SEEDS] | speed [--torch] [--rust-peers] [RUNS]" >&2
    exit 2
}

count() {
    case $1 in
        '' | 0* | *[!0-9]*)
            echo "\`$1\` must be a whole number above 0" >&2
            exit 2
            ;;
    esac
}

[ $# -ge 1 ] || usage
what=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
torch=
peers=
case $what in
    quality)
        [ $# -ge 1 ] && [ $# -le 2 ] || usage
        [ -d "$1" ] || { echo "\`$1\` is not a folder" >&2; exit 2; }
        tables=$(cd "$1" && pwd)
        count "${2:-10}"
        set -- "$tables" "${2:-10}"
        ;;
    speed)
        while [ $# -gt 0 ]; do
            case $1 in
                --torch) torch=yes ;;
                --rust-peers) peers=yes ;;
                *) break ;;
            esac
            shift
        done
        [ $# -le 1 ] || usage
        count "${1:-3}"
        set -- "${1:-3}"
        ;;
    *) usage ;;
esac

venv=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/detectors-venv
# The environment is made anew when the pins change.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "making $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
if [ -n "$torch" ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0
fi

cd "$root"
cargo build --quiet --release -p detectors --example detect
detect=${CARGO_TARGET_DIR:-$root/target}/release/examples/detect
if [ -n "$peers" ]; then
    target=${CARGO_TARGET_DIR:-$root/target}/dbscan-peers
    CARGO_TARGET_DIR=$target cargo build --quiet --release --manifest-path "$root/benches/dbscan-peers/Cargo.toml"
    export DBSCAN_PEERS="$target/release/dbscan-peers"
fi
exec "$venv/bin/python" "$here/$what.py" "$detect" "$@"
