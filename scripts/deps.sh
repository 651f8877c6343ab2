#!/bin/sh
# Makes sure that what llama.cpp's build needs is there: cmake, a C++ compiler, libclang. Installs it where apt is; elsewhere says what.
set -eu

if ! command -v cargo >/dev/null; then
    echo "error: no cargo found; install Rust 1.95 or newer (https://rustup.rs) and run this again" >&2
    exit 1
fi

missing=""
command -v cmake >/dev/null || missing="$missing cmake"
command -v c++ >/dev/null || missing="$missing g++"
command -v make >/dev/null || missing="$missing make"
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    ldconfig -p 2>/dev/null | grep -q 'libclang[-.][0-9.]*so' && return 0
    for file in /usr/lib/llvm*/lib/libclang*.so* /usr/lib/*/libclang*.so* /usr/lib64/libclang*.so* /usr/lib/libclang*.so* \
        /opt/homebrew/opt/llvm/lib/libclang.dylib /Library/Developer/CommandLineTools/usr/lib/libclang.dylib; do
        case "$file" in *libclang-cpp*) continue ;; esac
        [ -e "$file" ] && return 0
    done
    return 1
}
have_libclang || missing="$missing libclang-dev"
# shellcheck disable=SC2086 # a list of package names
sh "$(dirname "$0")/packages.sh" "the build of llama.cpp" $missing
