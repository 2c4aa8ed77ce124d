#!/bin/sh
# Trades made up and serialised, and trades into a real Kafka broker on this machine, beside Python's confluent-kafka
# with orjson on the same file and the same broker.
#
#   benches/feed/run.sh [N_TRADES] [N_PEER_TRADES] [N_REPEATS]
#
# N_TRADES (default 5,000,000) of 20 symbols are made up into nowhere (what one core can make), into the broker, and sent
# into it from a file in the layout of Binance's dumps and from Parquet; the peer sends the first N_PEER_TRADES (default
# 1,000,000) of the same file. Both sides produce idempotently, with acks=all and lz4, keyed by symbol, into 6 partitions;
# what counts is wall time until the broker has everything, the median of N_REPEATS (default 3). The broker (1 GiB of heap,
# started anew) shares the machine's cores with whoever sends. The Python packages go into a virtual environment of their
# own under ${XDG_CACHE_HOME:-~/.cache}/foreshock. Needs what ./test needs.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/venv-feed
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cd "$here/../.."
crates/test-stack/kafka/fetch.sh
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --quiet --release --workspace --bin feed --example kafka
"$venv/bin/python" "$here/compare.py" "$target/release/feed" "$target/release/examples/kafka" \
    "${1:-5000000}" "${2:-1000000}" "${3:-3}"
