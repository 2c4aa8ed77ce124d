#!/bin/sh
# Runs the crate's tests as on a 64-bit ARM, under emulation: with NEON instead of AVX, against the
# same files of expected scores. Further arguments go to `cargo test`.
set -eu

missing=''
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing
  $1: $2"
}
need cargo 'from rustup'
need aarch64-linux-gnu-gcc 'package gcc-aarch64-linux-gnu (Debian, Ubuntu)'
need qemu-aarch64-static 'package qemu-user-static (Debian, Ubuntu)'
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-gnu" ]; then
    missing="$missing
  Rust's library for ARM: rustup target add aarch64-unknown-linux-gnu"
fi
if [ -n "$missing" ]; then
    echo "tests/aarch64.sh needs what is missing here:$missing" >&2
    exit 1
fi

cd "$(dirname "$0")/.."
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64-static -L /usr/aarch64-linux-gnu'
exec cargo test -p linfa-isolation --target aarch64-unknown-linux-gnu "$@"
