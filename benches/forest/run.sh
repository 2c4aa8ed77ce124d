#!/bin/sh
# Speed of the forest beside scikit-learn's, isotree's, coniferest's and onnxruntime's: same data, same run.
#
#   benches/forest/run.sh [--rows N] [--runs K] [--growth]
#
# ROWS (default 1,000,000) rows of 10 standard normal columns are fitted on and scored; ours and the peers take turns,
# K (default 5) times each, and medians count. `--growth` prints instead how the times of ours, scikit-learn and
# coniferest grow with rows, columns, trees and rows per tree, and draws crates/linfa-isolation/docs/growth.png.
# A table of a million rows takes about ten minutes on two cores and 1 GiB of memory. The table goes into a temporary
# folder; the Python packages, pinned in requirements.txt, go into an environment of their own in
# ${XDG_CACHE_HOME:-~/.cache}/foreshock, made at the first run. Needs cargo, Python 3.11+ with venv, and a C++
# compiler (isotree comes as source).
set -eu

usage() {
    echo "usage: $0 [--rows N] [--runs K] [--growth]" >&2
    exit 2
}

count() {
    case $2 in
        '' | 0* | *[!0-9]*)
            echo "\`$1\` is \`$2\`, but must be a whole number above 0" >&2
            exit 2
            ;;
    esac
}

rows=1000000
runs=5
growth=
while [ $# -gt 0 ]; do
    case $1 in
        --growth) growth=yes ;;
        --rows | --runs)
            [ $# -ge 2 ] || usage
            count "$1" "$2"
            if [ "$1" = --rows ]; then rows=$2; else runs=$2; fi
            shift
            ;;
        *) usage ;;
    esac
    shift
done
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

venv=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/forest-venv
# The environment is made anew when the pins change.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "making $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

cd "$root"
bench=$(cargo bench --quiet -p linfa-isolation --bench score --no-run --message-format json |
    sed -n 's/.*"name":"score".*"executable":"\([^"]*\)".*/\1/p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$growth" ]; then
    "$venv/bin/python" "$here/plot.py" "$bench" "$work" "$rows" "$runs" "$root/crates/linfa-isolation/docs/growth.png"
else
    "$venv/bin/python" "$here/peers.py" "$bench" "$work" "$rows" "$runs"
fi
