#!/bin/sh
# Tests the kernels on an emulated 64-bit ARM processor: those for NEON among them. Installs the cross compiler, qemu and, through rustup,
# Rust's library for that target where they are missing. On ARM itself `make test` tests them.
set -eu

target=aarch64-unknown-linux-gnu
sysroot=/usr/aarch64-linux-gnu

missing=""
command -v aarch64-linux-gnu-gcc >/dev/null || missing="$missing gcc-aarch64-linux-gnu"
[ -e $sysroot/lib/libc.so.6 ] && [ -e $sysroot/lib/crt1.o ] || missing="$missing libc6-dev-arm64-cross"
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
[ -n "$qemu" ] || missing="$missing qemu-user"
# shellcheck disable=SC2086 # a list of package names
sh "$(dirname "$0")/packages.sh" "the test for ARM" $missing
qemu=${qemu:-qemu-aarch64}

if [ ! -d "$(rustc --print target-libdir --target $target)" ] && ! rustup target add $target; then
    echo "error: Rust's library for $target is missing: rustup could not install it" >&2
    echo "       a compiler from Debian takes that of its libstd-rust-dev for arm64, of the same version" >&2
    exit 1
fi

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$qemu -L $sysroot"
# No flags: the native processor that .cargo/config.toml asks for is not the one that this is built for.
RUSTFLAGS="" "${CARGO:-cargo}" test --release --locked --package ggraft-kernels --target $target --target-dir target/arm
