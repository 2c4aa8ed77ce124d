#!/bin/sh
# The scorer's core on one core beside the strongest Python pipeline that we know (orjson, features and forest in numba,
# batches of 1,000), its state for 10,000 symbols, and `scorer run` between two topics of a real Kafka broker.
#
#   benches/scorer/run.sh [N_TRADES] [N_REPEATS]
#
# N_TRADES (default 3,000,000) of 20 symbols are made up, 500 in a second of event time; medians of N_REPEATS (default
# 3). Both sides take the same lines from memory. PARTS="core behind beside latency" chooses what is run: the core; what
# waits in Kafka, as quickly as it goes; 300,000 trades/s for 30 s; latency at 50,000 trades/s. Broker, sender and scorer
# share the machine. Needs what ./test needs; the Python packages go into a virtual environment of their own under
# ${XDG_CACHE_HOME:-~/.cache}/foreshock.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/foreshock/venv-scorer
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cd "$here/../.."
crates/test-stack/kafka/fetch.sh
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --quiet --release --workspace --bin feed --bin scorer --example kafka --example throughput
"$venv/bin/python" "$here/compare.py" "$target/release/examples/throughput" "$target/release/scorer" \
    "$target/release/feed" "$target/release/examples/kafka" "${1:-3000000}" "${2:-3}"
