#!/bin/sh
# Runs a command with CUDA's compiler: the one on this machine, else one that is installed into folder $1 from PyPI. Then the command.
set -eu

folder=$1
shift
if [ -z "${CUDACXX:-}" ] && ! command -v nvcc >/dev/null; then
    sh "$(dirname "$0")/venv.sh" "$folder" "$(dirname "$0")/cuda-requirements.txt"
    root=$(echo "$folder"/lib/python3*/site-packages/nvidia/cu13)
    # Where CMake and the linker look for libraries, and where llama.cpp's find them later on.
    ln -sfn lib "$root/lib64"
    for library in libcudart libcublas libcublasLt; do
        ln -sf "$library.so.13" "$root/lib/$library.so"
    done
    export CUDACXX="$root/bin/nvcc" CUDAToolkit_ROOT="$root" CUDA_PATH="$root" CMAKE_INSTALL_RPATH="\$ORIGIN;$root/lib"
fi
exec "$@"
