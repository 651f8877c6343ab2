"""Prints what merging two LoRA adapters on a real model comes to: everybody on the same test questions, with 95 % intervals.

Usage: real_study.py GGRAFT OUT [SEARCHES]. Trains the adapters of recipes/real if they are not there, runs the searches, scores the rest.
SEARCHES are some of evolve, paths and hybrid, with commas between; all by default. Searches that were stopped are resumed, finished ones
are read.
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
SKILLS = {"math": "english_math", "spanish": "spanish"}
SEARCHES = {"evolve": "PS: weights", "paths": "DFS: paths", "hybrid": "PS + DFS: weights, then paths"}
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


def tested(search):
    """How the models of a finished search answered each test question, by name."""
    journal = sqlite3.connect(f"file:{sys.argv[2]}/{search}/journal.sqlite?mode=ro", uri=True)
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
wanted = sys.argv[3].split(",") if len(sys.argv) > 3 else list(SEARCHES)
found = {name: evolve(name, HERE) for name in dict.fromkeys(["evolve", *wanted])}
by_hand = ggraft("score", *[HERE / f"by_hand/{name}.yaml" for name in BY_HAND], "--task", HERE / "target.yaml", "--items")["results"]

# By name: how many blocks, the score, its interval, what each question came to, what finding it took.
rows = {}
journal = tested("evolve")
known = [*zip(["math adapter", "Spanish adapter", "base"], found["evolve"]["parents"]), ("uniform merge", found["evolve"]["uniform_merge"])]
for name, r in known:
    rows[name] = 30, r["test_score"], r["ci95"], journal[r["model"]], ""
for name, r in zip(BY_HAND.values(), by_hand):
    rows[name] = 30, r["value"], r["ci95"], [item["score"] for item in r["items"]], ""
for search, r in found.items():
    best = r["best"]
    rows[SEARCHES[search]] = blocks(best["recipe"]), best["test_score"], best["ci95"], tested(search)["best recipe"], cost(r)
winner = rows[SEARCHES["evolve"]][3]
leads = compared(winner, {name: row[3] for name, row in rows.items() if row[3] is not winner})

print("| Spanish word problems | blocks | score | 95 % interval | lead of PS |")
print("|---|---|---|---|---|")
for name, (count, score, interval, _, note) in rows.items():
    paper_table.row(name, count, score, interval, "; ".join(filter(None, [leads.get(name), note])))
print("\nLeads: questions that PS alone got right, that the other alone got right; McNemar's exact test, corrected by Holm's method.\n")

print("| the adapters' own skills | English word problems | Spanish without sums |")
print("|---|---|---|")
models = {"base": BASE, "math adapter": HERE / "by_hand/math.yaml", "Spanish adapter": HERE / "by_hand/spanish.yaml"}
tasks = [HERE / "english_math.yaml", HERE / "spanish.yaml"]
results = ggraft("score", *models.values(), "--task", *tasks)["results"]
for i, name in enumerate(models):
    print(f"| {name} | " + " | ".join(f"{100 * r['value']:.1f}" for r in results[2 * i : 2 * i + 2]) + " |")
