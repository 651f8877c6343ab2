#!/bin/sh
# Writes the tables of the README: `ggraft bench` of every type, on the quickstart models and on two real ones. $1: the program, $2: folder of the models.
set -eu

ggraft=$1
models=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pair() { # name model: a two-parent linear recipe of the model and a copy, which is other memory: a link would be read from the cache
    ln -sf "$models/$2" "$work/a-$2"
    cp "$models/$2" "$work/b-$2"
    cat >"$work/$1.yaml" <<YAML
merge_method: linear
models:
  - {model: a-$2, parameters: {weight: 0.6}}
  - {model: b-$2, parameters: {weight: 0.4}}
YAML
    echo "$work/$1.yaml"
}

echo "## every type: 33 million weights a tensor"
"$ggraft" bench --repeat 9
echo "## quickstart: task_arithmetic, three parents Q8_0 -> Q8_0"
"$ggraft" bench recipes/quickstart/recipe.yaml --repeat 9
for method in linear slerp ties dare_ties della; do
    echo "## quickstart: $method; what the first candidate of a search costs, and what later ones do"
    "$ggraft" bench "recipes/methods/$method.yaml" --repeat 9
done
echo "## SmolLM2-135M: linear, two parents Q4_1/Q8_0 -> Q8_0"
"$ggraft" bench "$(pair smol SmolLM2-135M-Instruct.gguf)" --repeat 9
echo "## gemma-3-270m: linear, two parents Q4_K_M -> Q8_0"
"$ggraft" bench "$(pair gemma gemma-3-270m.gguf)" --repeat 9

model=$work/a-SmolLM2-135M-Instruct.gguf
cat >"$work/path.yaml" <<YAML
path:
  - {model: $model, layers: [0, 20]}
  - {model: $model, layers: [5, 25], scale: 0.95}
  - {model: $model, layers: [10, 20]}
  - {model: $model, layers: [0, 30], scale: 1.05}
  - {model: $model, layers: [14, 30]}
YAML
echo "## SmolLM2-135M: path of 96 hops through 30 blocks"
"$ggraft" bench "$work/path.yaml" --repeat 9
