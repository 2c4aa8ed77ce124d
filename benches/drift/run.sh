#!/bin/sh
# Drift detection on simulated markets: false alarms, delays, what must not alarm, with 95 % intervals.
#
#   benches/drift/run.sh [TABLE…] [--streams N] [--symbols N] [--days N] [--peers N] [--seed N] [--run-length X]
#
# Tables: season, iid, changes, trouble; all by default, on 200 streams, each with a reference of 14 days, a model and
# limits of its own: about half an hour on two cores. On the first --peers streams (20) the rules that people use otherwise
# judge the same windows. Needs cargo.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
cargo build --quiet --release -p detectors --example drift
exec "${CARGO_TARGET_DIR:-$root/target}/release/examples/drift" "$@"
