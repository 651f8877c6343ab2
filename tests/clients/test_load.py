"""The load of benches/serve_load.py, for a moment: clients side by side while recipes are swapped, every answer checked."""

import json
import subprocess
import sys

from conftest import PROGRAM, ROOT


def test_answers_under_load_and_swaps_are_those_given_alone():
    command = [sys.executable, ROOT / "benches" / "serve_load.py", "--program", PROGRAM, "--json"]
    options = ["--minutes", "0.4", "--clients", "16", "--swap-every", "0.5", "--prompts", "24"]
    run = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert result["errors"] == [] and result["mixed_up"] == [] and run.returncode == 0, run.stderr
    # Enough happened for that to mean something.
    assert result["requests"] >= 50 and result["swaps"] >= 5 and result["variants"] == 5
    assert result["checked_pairs"] > 2 * result["close_calls"]
    memory = result["memory"]["anonymous"]
    assert memory["end"] - memory["warm"] < 32, memory
