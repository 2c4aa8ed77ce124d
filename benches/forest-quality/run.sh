#!/bin/sh
# Quality of every form of the forest beside scikit-learn's and isotree's, on labelled tables.
#
#   benches/forest-quality/run.sh DIR_OF_ADBENCH_NPZ [SEEDS] [--forms NAME[,NAME...]]
#
# See README.md beside this file.
set -eu

usage() {
    echo "usage: $0 DIR_OF_ADBENCH_NPZ [SEEDS, at least 5, default 10] [--forms NAME[,NAME...]]" >&2
    exit 2
}

tables=
seeds=
forms=
while [ $# -gt 0 ]; do
    case $1 in
        --forms)
            [ $# -ge 2 ] || usage
            forms=$2
            shift
            ;;
        --forms=*) forms=${1#--forms=} ;;
        -*) usage ;;
        *)
            if [ -z "$tables" ]; then
                tables=$1
            elif [ -z "$seeds" ]; then
                seeds=$1
            else
                usage
            fi
            ;;
    esac
    shift
done
[ -n "$tables" ] || usage
seeds=${seeds:-10}
case $seeds in
    *[!0-9]*)
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

venv=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/forest-quality-venv
# The environment is made anew when the pins change.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "making $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

cd "$root"
cargo build --quiet --release -p linfa-isolation --example score_table
score_table=${CARGO_TARGET_DIR:-$root/target}/release/examples/score_table
exec "$venv/bin/python" "$here/compare.py" "$score_table" "$tables" "$seeds" ${forms:+"$forms"}
