#!/bin/sh
# Compiles the kernels for every kind of device into one file, $1, which the driver takes: machine code for devices from Turing on, and
# intermediate code that later ones compile when they load it.
set -eu

nvcc=${CUDACXX:-${CUDA_PATH:+$CUDA_PATH/bin/nvcc}}
nvcc=${nvcc:-nvcc}
if ! command -v "$nvcc" >/dev/null; then
    echo "error: CUDA's compiler is needed, and there is no $nvcc; install the CUDA toolkit, or run \`make cuda\`, which brings it" >&2
    exit 1
fi
known=$("$nvcc" --list-gpu-arch)
for architecture in 75 80 86 89 90 100 120; do
    case "$known" in
    *compute_$architecture*) set -- "$@" "-gencode=arch=compute_$architecture,code=sm_$architecture" ;;
    esac
done
out=$1
shift
# As exact as on the CPU: no product is added without being rounded first.
exec "$nvcc" -fatbin -O3 -std=c++17 -fmad=false -Xfatbin=-compress-all --threads=0 "$@" -gencode=arch=compute_75,code=compute_75 \
    "$(dirname "$0")/merge.cu" -o "$out"
