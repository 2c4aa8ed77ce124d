#!/bin/sh
# Candles of real pump-and-dumps judged one by one: average precision, events caught, false alerts and delay of each
# candidate of experiments/pumps.toml.
#
#   benches/pumps/table.sh FOLDER
#
# FOLDER holds `events.csv` (file, symbol, pump_ms, rise_pct) and `trades/FILE.csv.gz` (timestamp in ms, side, price,
# amount). Of each event that rose by 10 % or more, what is known 6,360 candles before the last six hours and five minutes
# is fitted and calibrated on, half and half; judged are the six hours before the announcement and the five minutes after
# it. A candle from one minute before the announcement on is an anomaly, any other is not; delays count from there.
# Needs what ./test needs.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
folder=$(CDPATH= cd -- "$1" && pwd)
cd "$here/../.."
cargo build --quiet --release --workspace --bin trainer
python3 "$here/table.py" "${CARGO_TARGET_DIR:-$PWD/target}/release/trainer" "$folder"
