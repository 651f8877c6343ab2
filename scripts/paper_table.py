"""Prints the paper's table in miniature: everybody on the quickstart's 400 test questions, searches over several seeds.

Usage: paper_table.py GGRAFT OUT [SEEDS]. Runs the searches, two at a time on a thread each, and scores the rest. Searches that were stopped
are resumed, finished ones are read.
"""

import concurrent.futures
import pathlib
import sys

from searches import blocks, cost, evolve, ggraft, median, percent

HERE = pathlib.Path("recipes/quickstart")
OUT = pathlib.Path(sys.argv[2])
SEEDS = range(1, int(sys.argv[3]) + 1 if len(sys.argv) > 3 else 4)


def search(job):
    name, seed = job
    return evolve(HERE / f"{name}.yaml", OUT / f"{name}-{seed}", "--seed", seed, "-t", "1")


def row(name, count, result, note=""):
    print(f"| {name} | {count} | {100 * result['test_score']:.1f} | {percent(*result['ci95'])} | {note} |")


def searched(name, of, results):
    """One of each seed's models: the median one, and from where to where they go."""
    scores = [of(result)["test_score"] for result in results]
    middle = results[scores.index(median(scores))]
    recipe = of(middle).get("recipe")
    note = f"{percent(min(scores), max(scores))} over {len(scores)} seeds; {'first part of ' if of(middle) is middle['best_weights'] else ''}{cost(middle)}"
    row(name, blocks(recipe) if recipe else 8, of(middle), note)


with concurrent.futures.ThreadPoolExecutor(2) as pool:
    jobs = [(name, seed) for seed in SEEDS for name in ("hybrid", "paths")]
    results = list(pool.map(search, jobs))
hybrids, paths = results[0::2], results[1::2]
by_hand = ggraft("score", HERE / "frankenmerge.yaml", "--task", HERE / "target.yaml")["results"][0]
print("| model | blocks | score | 95 % interval | |")
print("|---|---|---|---|---|")
first = hybrids[0]
for model in [*first["parents"], first["uniform_merge"], *first["compared"]]:
    row(model["model"].removesuffix("-Q8_0.gguf"), 8, model)
row("frankenmerge by hand", blocks(HERE / "frankenmerge.yaml"), {"test_score": by_hand["value"], "ci95": by_hand["ci95"]})
searched("PS: weights", lambda result: result["best_weights"], hybrids)
searched("DFS: paths", lambda result: result["best"], paths)
searched("PS + DFS: weights, then paths", lambda result: result["best"], hybrids)
