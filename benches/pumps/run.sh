#!/bin/sh
# Real pump-and-dumps on Binance, replayed through the scorer: alerts per event, seconds from the pump's first minute to
# the first alert, false alerts a day.
#
#   benches/pumps/run.sh [FOLDER] [DETECTOR]
#
# FOLDER is experiments/data (ten events) or a folder with `events.csv` (file, symbol, pump_ms) and `trades/FILE.csv.gz`
# (timestamp in ms, side, price, amount). For each event DETECTOR (default dbscan) is fitted on the first 24 % of the
# file's trades and calibrated on the next 24 %, to one alert a symbol and day: all of it before the pump. Then the file
# goes through `scorer replay`, once with closed candles of 10 s and once with open ones looked at every second as well.
#
# The pump's first minute is the one before the announcement. An alert of a closed candle is out with the trade that closes
# the candle (5 s of lateness and the wait for a trade are in its seconds); one of an open candle counts as out when the
# candle ends, which is later than it is. Alerts up to ten minutes after the announcement belong to the event; incidents
# before it, or more than an hour later, are false; what lies between is aftermath and counts as neither. Needs what ./test
# needs.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
folder=$(CDPATH= cd -- "${1:-$here/../../experiments/data}" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --quiet --release --workspace --bin trainer --bin registry --bin scorer
python3 "$here/run.py" "$target/release/trainer" "$target/release/registry" "$target/release/scorer" "$folder" \
    "${2:-dbscan}"
