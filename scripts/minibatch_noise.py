"""What stratified minibatches are worth on a study: how far scores on some questions are from scores on all of them, by chance.

Usage: minibatch_noise.py ALL STRATIFIED. Out folders of a search that asked every candidate all search questions, and of one with
`stratify: true` on the same questions and models, whose journal has what the models got right. `make racing-table` leaves both behind:
out/racing-table/all-1 and out/racing-table/stratified-1. Questions are drawn a thousand times, blindly and by strata.
"""

import collections
import json
import math
import pathlib
import random
import sqlite3
import sys

POPULATION = 10  # CMA-ES's own for the quickstart's eight genes
DRAWS = 1000


def answers(folder, kind):
    """One list of results per model or candidate, question by question."""
    journal = sqlite3.connect(f"file:{pathlib.Path(folder) / 'journal.sqlite'}?mode=ro", uri=True)
    rows = "SELECT items FROM answers JOIN entry ON entry.id = answers.entry WHERE kind = ? ORDER BY entry.id"
    return [json.loads(items) for (items,) in journal.execute(rows, (kind,))]


candidates, models = answers(sys.argv[1], "candidate"), answers(sys.argv[2], "parent")
total = len(candidates[0])
strata = collections.defaultdict(list)
for question in range(total):
    strata[tuple(model[question] > sum(model) / total for model in models)].append(question)
print(f"{total} questions, {len(models)} models, strata of {sorted(map(len, strata.values()), reverse=True)}")


def blindly(length):
    return random.sample(range(total), length)


def by_strata(length):
    """Systematic sampling: every stratum in random order, a comb over all of them."""
    order = [question for stratum in strata.values() for question in random.sample(stratum, len(stratum))]
    start = random.random()
    return [order[int((i + start) * total / length)] for i in range(length)]


random.seed(0)
generations = [candidates[i : i + POPULATION] for i in range(0, len(candidates) - POPULATION + 1, POPULATION)]
print("| questions of a minibatch | drawn | a score is off by (RMS) | a difference within a generation |\n|---|---|---|---|")
for length in (50, 100):
    for name, draw in ("blindly", blindly), ("by strata", by_strata):
        scores, differences = [], []
        for _ in range(DRAWS):
            chosen, generation = draw(length), random.choice(generations)
            off = [sum(c[q] for q in chosen) / length - sum(c) / total for c in generation]
            scores += [e * e for e in off]
            differences += [(a - b) ** 2 for i, a in enumerate(off) for b in off[:i]]
        rms = [100 * math.sqrt(sum(errors) / len(errors)) for errors in (scores, differences)]
        print(f"| {length} | {name} | {rms[0]:.2f} points | {rms[1]:.2f} points |")
