#!/bin/sh
# Quality of the Isolation Forest beside scikit-learn's, on labelled tables.
#
#   benches/quality/run.sh DIR_OF_ADBENCH_NPZ [SEEDS]
#
# See README.md beside this file.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 DIR_OF_ADBENCH_NPZ [SEEDS, at least 5, default 10]" >&2
    exit 2
fi
tables=$1
seeds=${2:-10}
case $seeds in
    '' | *[!0-9]*)
        echo "SEEDS is \`$seeds\`, but must be a number" >&2
        exit 2
        ;;
esac
if [ "$seeds" -lt 5 ]; then
    echo "SEEDS is \`$seeds\`, but must be at least 5" >&2
    exit 2
fi
if [ ! -d "$tables" ]; then
    echo "\`$tables\` is not a folder" >&2
    exit 2
fi
tables=$(cd "$tables" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

venv=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/quality-venv
# The environment is made anew when the pins change.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "making $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

cd "$root"
cargo build --quiet --release --workspace --bins
trainer=${CARGO_TARGET_DIR:-$root/target}/release/trainer
exec "$venv/bin/python" "$here/compare.py" "$trainer" "$tables" "$seeds"
