"""Prints the paper's table in miniature: everybody on the quickstart's 400 test questions, with 95 % intervals.

Usage: paper_table.py GGRAFT OUT. Runs both searches and scores the rest; searches that were stopped are resumed, finished ones are read.
"""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path("recipes/quickstart")


def ggraft(*args):
    run = subprocess.run([sys.argv[1], *map(str, args), "--json"], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(run.returncode)
    return json.loads(run.stdout)


def evolve(name, folder=HERE):
    out = pathlib.Path(sys.argv[2]) / name
    resume = ["--resume"] if (out / "journal.sqlite").exists() else []
    return ggraft("evolve", folder / f"{name}.yaml", "--out", out, *resume)


def row(name, blocks, score, interval, note=""):
    low, high = (100 * x for x in interval)
    print(f"| {name} | {blocks} | {100 * score:.1f} | {low:.1f} – {high:.1f} | {note} |")


def cost(result):
    return f"{result['evaluations']} candidates, {result['seconds'] / 60:.0f} min"


def blocks(path):
    return ggraft("inspect", path)["block_count"]


def best(name, result, note):
    row(name, blocks(result["best"]["recipe"]), result["best"]["test_score"], result["best"]["ci95"], note)


if __name__ == "__main__":
    hybrid, paths = evolve("hybrid"), evolve("paths")
    by_hand = ggraft("score", HERE / "frankenmerge.yaml", "--task", HERE / "target.yaml")["results"][0]
    print("| model | blocks | score | 95 % interval | |")
    print("|---|---|---|---|---|")
    for parent in hybrid["parents"]:
        row(parent["model"].removesuffix("-Q8_0.gguf"), 8, parent["test_score"], parent["ci95"])
    row("uniform merge", 8, hybrid["uniform_merge"]["test_score"], hybrid["uniform_merge"]["ci95"])
    row("frankenmerge by hand", blocks(HERE / "frankenmerge.yaml"), by_hand["value"], by_hand["ci95"])
    row("PS: weights", 8, hybrid["best_weights"]["test_score"], hybrid["best_weights"]["ci95"])
    best("DFS: paths", paths, cost(paths))
    best("PS + DFS: weights, then paths", hybrid, cost(hybrid))
