"""What the scripts that print tables of searches share: running ggraft, which their first argument names, and saying what came of it."""

import json
import pathlib
import subprocess
import sys


def ggraft(*args):
    """Runs a command and returns what it prints as JSON."""
    run = subprocess.run([sys.argv[1], *map(str, args), "--json"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(map(str, args))}: {run.stderr[-2000:]}")
    return json.loads(run.stdout)


def evolve(file, out, *more):
    """Runs a search, goes on with it if it was stopped, or reads it if it was finished."""
    resume = ["--resume"] if any(pathlib.Path(out).glob("journal*")) else []
    result = ggraft("evolve", file, "--out", out, *more, *resume)
    print(f"{out}: done", file=sys.stderr)
    return result


def blocks(path):
    return ggraft("inspect", path)["block_count"]


def cost(result):
    return f"{result['evaluations']} candidates, {result['seconds'] / 60:.0f} min"


def percent(low, high):
    return f"{100 * low:.1f} – {100 * high:.1f}"


def median(values):
    """The middle one of an odd number, of two middle ones the lower: always one of them."""
    return sorted(values)[(len(values) - 1) // 2]
