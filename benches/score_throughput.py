#!/usr/bin/env python3
"""How fast `ggraft score` answers questions beside llama.cpp's own llama-batched-bench: same model, sequences, tokens, batch and threads.

The two take turns, and what counts is the median of the ratios of neighbours: other work on the machine slows both. Beside the wall clock
stands the processor time of each whole process, which other work hardly touches. Prints a Markdown table.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

WORDS = "apple river stone cloud table green seven light north house water music paper glass bread horse".split()


def run(command, environment):
    """Its output, and the processor time that it took."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"error: {' '.join(map(str, command))} failed")
        output.seek(0)
        return output.read(), usage.ru_utime + usage.ru_stime


def questions(folder, count, tokens, answer):
    """A task of `count` questions without a common beginning, whose answers always take `answer` tokens."""
    with open(folder / "questions.jsonl", "w") as file:
        for number in range(count):
            first, second = WORDS[number % 16], WORDS[(number + 1 + number // 16) % 16]
            file.write(json.dumps({"prompt": " ".join([first, second] * (tokens // 2))}) + "\n")
    # No early end: a pattern may match whatever still comes.
    task = f'data: questions.jsonl\nkind: generate\nprompt: "{{{{ prompt }}}}"\nanswer: nothing\nmetric: regex\nmax_tokens: {answer}\n'
    (folder / "task.yaml").write_text(task)
    return folder / "task.yaml"


def ours(args, model, task, parallel):
    command = [args.program, "score", model, "--task", task, "--json", "-np", parallel, "-t", args.threads, "-b", args.batch, "-ub", args.ubatch]
    text, processor = run(command, args.environment)
    (result,) = json.loads(text)["results"]
    tokens = result["prompt_tokens"] + result["generated_tokens"]
    return {
        "prompt": result["prompt_tokens"] / result["prompt_seconds"],
        "answer": result["generated_tokens"] / result["generate_seconds"],
        "all": tokens / result["seconds"],
        "processor": tokens / processor,
        "tokens": result["prompt_tokens"] / result["n"],
    }


def theirs(args, model, prompt, parallel):
    context = parallel * (prompt + args.answer)
    command = [args.reference, "-m", model, "-c", context, "-b", args.batch, "-ub", args.ubatch, "-t", args.threads, "-tb", args.threads]
    text, processor = run([*command, "-npp", prompt, "-ntg", args.answer, "-npl", parallel], args.environment)
    rows = re.findall(r"^\|\s*(\d+) \|" + r"\s*([\d.]+) \|" * 9, text, re.M)
    if len(rows) != 1:
        raise SystemExit(f"error: llama-batched-bench printed\n{text}")
    pp, tg, b, _, _, s_pp, _, s_tg, _, s = map(float, rows[0])
    return {"prompt": s_pp, "answer": s_tg, "all": s, "processor": b * (pp + tg) / processor}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="target/release/ggraft")
    parser.add_argument("--reference", default="target/llama/build/bin/llama-batched-bench")
    parser.add_argument("--models", nargs="+", type=Path, required=True)
    parser.add_argument("--parallel", type=int, nargs="+", default=[32, 1])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt, about")
    parser.add_argument("--answer", type=int, default=32, help="tokens of each answer")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--ubatch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    # As ggraft sets it for itself: where cores are shared, threads that spin while they wait cost others time and their own.
    args.environment = {**os.environ, "GOMP_SPINCOUNT": "1000"}
    print(f"{args.repeat} pairs, {args.threads} threads, batch {args.batch}, ubatch {args.ubatch}, answers of {args.answer} tokens; tokens per second\n")
    print("| model | sequences | prompt | | prompts | answers | all | ratio (lowest, highest) | ratio by processor time |\n|---|---|---|---|---|---|---|---|---|")
    for model in args.models:
        for parallel in args.parallel:
            with tempfile.TemporaryDirectory() as folder:
                task = questions(Path(folder), max(parallel, 4), args.prompt, args.answer)
                pairs = []
                for _ in range(args.repeat):
                    own = ours(args, model, task, parallel)
                    pairs.append((own, theirs(args, model, round(own["tokens"]), parallel)))
            ratios = {key: sorted(own[key] / other[key] for own, other in pairs) for key in ("all", "processor")}
            for name, side in (("ggraft", 0), ("llama.cpp", 1)):
                speeds = [f"{statistics.median(pair[side][key] for pair in pairs):.0f}" for key in ("prompt", "answer", "all")]
                row = [model.stem, str(parallel), str(round(pairs[0][0]["tokens"])), name, *speeds]
                if side == 0:
                    wall, processor = ratios["all"], ratios["processor"]
                    row += [f"{statistics.median(wall):.2f} ({wall[0]:.2f}, {wall[-1]:.2f})", f"{statistics.median(processor):.2f}"]
                else:
                    row += ["", ""]
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
