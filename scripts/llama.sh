#!/bin/sh
# Builds llama.cpp's own llama-batched-bench in folder $1, from the source inside the llama-cpp-python package. Does nothing where it is.
set -eu

folder=$1
version=0.3.36
program=$folder/build/bin/llama-batched-bench
[ -x "$program" ] && exit 0

if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "error: python3 with pip is needed to download llama.cpp; on Debian: apt-get install python3-pip" >&2
    exit 1
fi
mkdir -p "$folder"
echo "downloading llama-cpp-python $version"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python --dest "$folder" \
    "llama-cpp-python==$version"
tar -xzf "$folder/llama_cpp_python-$version.tar.gz" -C "$folder"
echo "building llama-batched-bench (some minutes)"
cmake -S "$folder/llama_cpp_python-$version/vendor/llama.cpp" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF >"$folder/cmake.log" 2>&1
cmake --build "$folder/build" --target llama-batched-bench -j "$(nproc)" >>"$folder/cmake.log" 2>&1
