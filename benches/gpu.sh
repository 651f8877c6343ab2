#!/bin/sh
# Merges and runs parents that `ggraft bench` makes up, all layers on a GPU where there is one, and prints a table in Markdown.
#   sh benches/gpu.sh PROGRAM [SHAPE [FOLDER [FLAGS...]]]
# PROGRAM: a built ggraft. SHAPE: llama-7b (the default: some 41 GB of memory), llama-1b, llama-135m, or llama-4m to try it out.
# FOLDER: keeps what each run printed (NAME.json). FLAGS: more for `ggraft bench`, for example `--repeat 9`.
# All results are Q8_0 and run alike, so that only the first is run as an exported file too.
set -eu

ggraft=$1
shape=${2:-llama-7b}
out=${3:-$(mktemp -d)}
[ $# -le 3 ] && set -- || shift 3
recipes=$(dirname "$0")/../recipes/bench
mkdir -p "$out"

value() { # file key: a number or null, from the lines of the one object
    sed -n "s/^ *\"$2\": \([^,]*\),*$/\1/p" "$1" | head -n 1
}

median() { # file key
    sed -n "/^  \"$2\": {/,/}/s/^ *\"median\": \([^,]*\),*$/\1/p" "$1"
}

number() { # value factor format: `-` for what was not measured
    case $1 in
    null | '') echo '-' ;;
    *) awk "BEGIN { printf \"$3\", $1 * $2 }" ;;
    esac
}

device() { # file: the first device
    sed -n '/^  "devices": \[/,/\]/s/^    "\(.*\)",*$/\1/p' "$1" | head -n 1
}

row() { # recipe type flags...
    name=$1-$2
    recipe=$1
    ty=$2
    shift 2
    file=$out/$name.json
    echo "$name" >&2
    if ! "$ggraft" bench "$recipes/$recipe.yaml" --synthetic "$shape" --type "$ty" -ngl 99 --json "$@" >"$file"; then
        echo "| $recipe, $ty | failed | | | | | | | | | |"
        return
    fi
    [ -n "$found" ] || found=$(device "$file")
    generated=$(value "$file" generated_tokens_per_second)
    exported=$(value "$file" exported_generated_tokens_per_second)
    printf '| %s, %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$recipe" "$ty" \
        "$(number "$(median "$file" swap_seconds)" 1000 '%.1f ms')" \
        "$(number "$(median "$file" plan_and_swap_seconds)" 1000 '%.1f ms')" \
        "$(number "$(value "$file" gb_per_second)" 1 '%.1f GB/s')" \
        "$(number "$(value "$file" device_copy_gb_per_second)" 1 '%.0f GB/s')" \
        "$(number "$(value "$file" ratio_to_device_copy)" 1 '%.2f')" \
        "$(number "$(value "$file" prompt_tokens_per_second)" 1 '%.0f')" \
        "$(number "$generated" 1 '%.1f')" \
        "$(number "$exported" "1 / $generated" '%.3f')" \
        "$(number "$(value "$file" candidate_seconds)" 1 '%.2f s')" \
        "$(number "$(value "$file" open_seconds)" 1 '%.1f s')"
}

found=
echo "| $shape | swap | plan and swap | merge | device's copy | merge / copy | prompt, tokens/s | generation, tokens/s | exported / virtual | candidate | open and plan |"
echo '|---|---|---|---|---|---|---|---|---|---|---|'
row linear q8_0 --exported "$@"
row linear q4_k "$@"
row linear f16 "$@"
row ties q8_0 "$@"
row dare_ties q8_0 "$@"
echo
first=$out/linear-q8_0.json
echo "Device: ${found:-none, on the processor}. Candidate: plan, swap and $(value "$first" questions) questions, $(value "$first" answer_tokens) tokens generated. What each run printed: $out"
