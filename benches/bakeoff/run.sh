#!/bin/sh
# A whole bake-off on a million rows of fifteen features: `trainer run` from nothing to the registered model.
#
#   benches/bakeoff/run.sh [--set KEY=VALUE]…
#
# Six candidates, twenty trials (experiment.toml) on a simulated market of ten symbols. Prints the leaderboard, the
# seconds of each candidate's trials (fitting and scoring the validation rows, on one thread where two run at once), and the seconds of all. Needs
# cargo and Python 3.11+ (no packages). FORESHOCK_TRAINER names a program that is built already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
if [ -z "${FORESHOCK_TRAINER:-}" ]; then
    cargo build --quiet --release -p trainer
    FORESHOCK_TRAINER=${CARGO_TARGET_DIR:-$root/target}/release/trainer
fi
exec python3 "$here/time_trials.py" "$FORESHOCK_TRAINER" "$here/experiment.toml" "$@"
