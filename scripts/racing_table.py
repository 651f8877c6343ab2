"""Compares searches of the quickstart's parents over several seeds: every question for every candidate, and fewer.

Usage: racing_table.py GGRAFT OUT [SEEDS [NAMES]]. Each search has 80 candidates and starts as the quickstart's does; they differ in the questions
that candidates are asked. NAMES are some of those below, with commas between. Searches that were stopped are resumed, finished ones are
read. Two searches run side by side, each on one thread; what they find depends on neither.
"""

import concurrent.futures
import math
import pathlib
import re
import sys

from searches import evolve

HERE = pathlib.Path("recipes/quickstart")
BUDGET = 80
SEARCHES = {
    "all": ("all 400", {}),
    "all-race": ("all 400, racing", {"race": "true"}),
    "mini": ("100 in turn", {"minibatch": "100"}),
    "race": ("100 in turn, racing", {"minibatch": "100", "race": "true"}),
    "stratified": ("100 in turn, stratified, racing", {"minibatch": "100", "race": "true", "stratify": "true"}),
}


def evolve_file(name):
    """The quickstart's evolve file with other settings, its paths made absolute."""
    text = (HERE / "evolve.yaml").read_text().split("search:\n  budget")[0]
    text = re.sub(r"[\w.-]+\.(?:gguf|yaml|jsonl)", lambda m: str((HERE / m[0]).resolve()), text)
    settings = {"budget": BUDGET, "start": "{weight: 0.8}", **SEARCHES[name][1]}
    return text + "search:\n" + "".join(f"  {key}: {value}\n" for key, value in settings.items())


def search(job):
    name, seed = job
    folder = pathlib.Path(sys.argv[2])
    file = folder / f"{name}.yaml"
    out = folder / f"{name}-{seed}"
    return name, evolve(file, out, "--seed", seed, "-t", "1")


def interval(values):
    """Mean over seeds with its 95 % interval by Student's t."""
    n = len(values)
    mean = sum(values) / n
    t = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}.get(n, 1.96)
    half = t * math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n) if n > 1 else math.nan
    return mean, half


seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
names = sys.argv[4].split(",") if len(sys.argv) > 4 else ["all", "race", "stratified"]
pathlib.Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
for name in names:
    (pathlib.Path(sys.argv[2]) / f"{name}.yaml").write_text(evolve_file(name))
results = {name: [] for name in names}
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for name, result in pool.map(search, [(name, seed) for seed in range(1, seeds + 1) for name in names]):
        results[name].append(result)
most = sum(result["items_scored"] for result in results[names[0]])
print("| questions of a candidate | best recipes on the test questions | mean of seeds | questions scored, tests included |")
print("|---|---|---|---|")
for name in names:
    scores = [100 * result["best"]["test_score"] for result in results[name]]
    mean, half = interval(scores)
    scored = sum(result["items_scored"] for result in results[name])
    each = ", ".join(f"{score:.1f}" for score in scores)
    print(f"| {SEARCHES[name][0]} | {each} | {mean:.1f} ± {half:.1f} | {scored} ({100 * scored / most:.0f} %) |")
