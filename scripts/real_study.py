"""Prints what merging two LoRA adapters on a real model comes to: everybody on the same test questions, with 95 % intervals.

Usage: real_study.py GGRAFT OUT. Trains the adapters of recipes/real if they are not there, runs the searches, scores the rest. Searches
that were stopped are resumed, finished ones are read.
"""

import json
import math
import pathlib
import sqlite3
import subprocess
import sys

import paper_table
from paper_table import blocks, cost, evolve, ggraft

HERE = pathlib.Path("recipes/real")
BASE = "target/models/SmolLM2-135M-Instruct.gguf"
SKILLS = {"math": "english_math", "translation": "translation"}
BY_HAND = {
    "half": "task arithmetic, 0.5 and 0.5",
    "task_arithmetic": "task arithmetic, 1 and 1",
    "slerp": "slerp, 0.5",
    "ties": "TIES, density 0.5",
    "dare_ties": "DARE-TIES, density 0.5",
}


def train(name):
    out = HERE / f"{name}.gguf"
    if not out.exists():
        subprocess.run(["sh", "scripts/venv.sh", "target/real", HERE / "requirements.txt"], check=True)
        subprocess.run(["target/real/bin/python", HERE / "train.py", BASE, SKILLS[name], out], check=True)


def tested(name):
    """How a finished search's models answered each test question, by name."""
    journal = sqlite3.connect(f"file:{sys.argv[2]}/{name}/journal.sqlite?mode=ro", uri=True)
    with journal:
        rows = journal.execute("SELECT name, items FROM test JOIN answers USING (entry)").fetchall()
    return {name: json.loads(items) for name, items in rows}


def mcnemar(won, lost):
    """Two-sided p-value of so many questions that one of two alone got right, and the other alone."""
    both = won + lost
    return min(1.0, 2 * sum(math.comb(both, k) for k in range(min(won, lost) + 1)) / 2**both)


def holm(values):
    """The p-values, corrected for being several."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, floor = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = floor
    return corrected


def compared(best, others):
    """By name: the lead of `best` over others on the same questions, as text."""
    pairs = [(sum(a > b for a, b in zip(best, o)), sum(a < b for a, b in zip(best, o))) for o in others.values()]
    p_values = holm([mcnemar(*pair) for pair in pairs])
    return {name: f"+{won} −{lost}, p {p:.1g}" for name, (won, lost), p in zip(others, pairs, p_values)}


for name in SKILLS:
    train(name)
hybrid, paths = evolve("hybrid", HERE), evolve("paths", HERE)
files = [HERE / "by_hand" / f"{name}.yaml" for name in BY_HAND]
by_hand = ggraft("score", *files, "--task", HERE / "target.yaml", "--items")["results"]

parents = dict(zip(["math adapter", "translation adapter", "base"], hybrid["parents"]))
rows = [("base", 30, parents.pop("base"))] + [(name, 30, parent) for name, parent in parents.items()]
rows.append(("uniform merge", 30, hybrid["uniform_merge"]))
rows += [(name, 30, {"model": name, "test_score": r["value"], "ci95": r["ci95"]}) for name, r in zip(BY_HAND.values(), by_hand)]
ps = hybrid["best_weights"]
rows.append(("PS: weights", 30, ps))
rows += [
    (name, blocks(result["best"]["recipe"]), {"model": name, **result["best"]})
    for name, result in [("DFS: paths", paths), ("PS + DFS: weights, then paths", hybrid)]
]

items = tested("hybrid")
items |= {name: [item["score"] for item in r["items"]] for name, r in zip(BY_HAND.values(), by_hand)}
items["DFS: paths"] = tested("paths")["best recipe"]
items["PS + DFS: weights, then paths"] = items["best recipe"]
leads = compared(items[ps["model"]], {name: items[r["model"]] for name, _, r in rows if r is not ps})

print("| Spanish word problems | blocks | score | 95 % interval | PS alone right, the other alone |")
print("|---|---|---|---|---|")
for name, count, result in rows:
    paper_table.row(name, count, result["test_score"], result["ci95"], leads.get(name, ""))
print(f"\nPS + DFS: {cost(hybrid)}; DFS: {cost(paths)}. p-values: McNemar's exact test, Holm's correction for {len(leads)} comparisons.\n")

print("| the adapters' own skills | English word problems | translation |")
print("|---|---|---|")
models = {"base": BASE, "math adapter": HERE / "by_hand/math.yaml", "translation adapter": HERE / "by_hand/translation.yaml"}
tasks = [HERE / "english_math.yaml", HERE / "translation.yaml"]
results = ggraft("score", *models.values(), "--task", *tasks)["results"]
for i, name in enumerate(models):
    print(f"| {name} | " + " | ".join(f"{100 * r['value']:.1f}" for r in results[2 * i : 2 * i + 2]) + " |")
