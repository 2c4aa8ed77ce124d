#!/bin/sh
# Runs the crate's tests under Miri, which finds undefined behaviour: on the portable code, as Miri
# knows few vector instructions. Takes long: further arguments go to `cargo miri test` and may name a
# part, such as `--lib frame`.
set -eu

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo 'tests/miri.sh needs Miri: rustup toolchain install nightly --component miri,rust-src' >&2
    exit 1
fi
cd "$(dirname "$0")/.."
# Tree borrows: crossbeam, below rayon, breaks the stricter rules of stacked borrows. Its global
# collector is never freed. Files: the tests read fixtures.
export MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-ignore-leaks -Zmiri-disable-isolation ${MIRIFLAGS:-}"
# Threads only share out the rows: two show what more would.
: "${RAYON_NUM_THREADS:=2}"
export RAYON_NUM_THREADS
exec cargo +nightly miri test -p linfa-isolation "$@"
