#!/usr/bin/env python3
"""The same questions through `ggraft score` and through lm-evaluation-harness over llama-cpp-python, compared item by item.

Reads the data that recipes/tasks/README.md names; writes a Markdown table to stdout and what differs, with the reason, to stderr.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager
from model import LlamaCpp

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "tasks"
QUICKSTART = RECIPES.parent / "quickstart"
# A difference of two logits below which batches of another shape, or other kernels, may choose the other token: with activations in 8 bits,
# the last bit of a sum moves all that follows (as `ggraft score` itself shows with another `-b`, see recipes/tasks/README.md).
TIE = 0.5

GSM8K = r"""
task: gsm8k_first
dataset_path: json
dataset_kwargs: {data_files: {train: "%(train)s", test: "%(data)s"}}
output_type: generate_until
test_split: test
fewshot_split: train
fewshot_config: {sampler: first_n}
num_fewshot: 5
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:", "</s>", "<|im_end|>"], do_sample: false, max_gen_toks: 256}
metric_list:
  - {metric: exact_match, ignore_case: true, regexes_to_ignore: [",", "\\$", "(?s).*#### ", "\\.$"]}
filter_list:
  - name: strict-match
    filter: [{function: regex, regex_pattern: "#### (\\-?[0-9\\.\\,]+)"}, {function: take_first}]
"""

# For a model that answers about half of these.
WORDS = r"""
task: word_problems
dataset_path: json
dataset_kwargs: {data_files: {test: "%(data)s"}}
output_type: generate_until
test_split: test
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\n"], do_sample: false, max_gen_toks: 64}
metric_list: [{metric: exact_match}]
filter_list:
  - name: strict-match
    filter: [{function: regex, regex_pattern: "#### (\\-?[0-9\\.\\,]+)"}, {function: take_first}]
"""

OUR_WORDS = r"""
data: %(data)s
kind: generate
prompt: "{{ prompt }}"
answer: "{{ answer }}"
stop: ["\n"]
max_tokens: 64
metric: number
answer_after: "####"
"""

CHOICE = r"""
task: jcommonsenseqa_choice
dataset_path: json
dataset_kwargs: {data_files: {test: "%(data)s"}}
output_type: multiple_choice
test_split: test
doc_to_text: "質問：{{question}}\n選択肢：{{choice0}}、{{choice1}}、{{choice2}}、{{choice3}}、{{choice4}}\n回答："
doc_to_choice: "{{[choice0, choice1, choice2, choice3, choice4]}}"
doc_to_target: label
target_delimiter: ""
metric_list: [{metric: acc}, {metric: acc_norm}]
"""


def note(*words):
    print(*words, file=sys.stderr, flush=True)


def ggraft(args, model, task, limit):
    """The result of `ggraft score` with its items."""
    command = [args.program, "score", model, "--task", task, "--limit", limit, "--json", "--items", "-t", args.threads]
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["results"][0]


def harness(model, folder, name, limit):
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    result = lm_eval.simple_evaluate(model, tasks=[name], task_manager=manager, limit=limit, log_samples=True, bootstrap_iters=0, random_seed=0)
    return result["results"][name], sorted(result["samples"][name], key=lambda sample: sample["doc_id"])


def divergence(ours, pieces):
    """The number of the token at which two answers part; None if ours is the beginning of the harness's."""
    text, ours = b"", ours.encode()
    for number, (_, piece, _) in enumerate(pieces):
        text += piece
        if not text.startswith(ours) and not ours.startswith(text):
            return number
    return None


def why(llama, prompt, pieces, number):
    """Whether rounding explains that another token was chosen, and how that shows."""
    token, piece, lead = pieces[number]
    where = f"parts at {piece.decode(errors='replace')!r}, {lead:.3f} ahead of the second best"
    if lead < TIE:
        return True, f"{where}: a near tie"
    tokens = prompt + [token for token, _, _ in pieces[:number]]
    leads = [llama.lead(tokens, token, batch) for batch in (16, 64)]
    told = ", ".join(f"{lead:.3f}" for lead in leads)
    explained = max(abs(other - lead) for other in leads) >= lead / 2
    return explained, f"{where}, {told} in batches of 16 and 64: {'within that' if explained else 'NOT EXPLAINED'}"


def compare_answers(args, label, model, name, ours, limit, folder):
    llama = LlamaCpp(model, 2048, args.threads)
    summary, samples = harness(llama, folder / "harness", name, limit)
    ours = ggraft(args, model, ours, limit)
    same_text = same_score = explained = 0
    for index, (sample, item) in enumerate(zip(samples, ours["items"], strict=True)):
        theirs = sample["exact_match"]
        # The harness asks in an order of its own.
        text, prompt, pieces = next(answer for answer in llama.answers if answer[0] == sample["resps"][0][0])
        parted = divergence(item["output"], pieces)
        same_text += parted is None
        same_score += item["score"] == theirs
        if parted is not None:
            fine, reason = why(llama, prompt, pieces, parted)
            explained += fine
            note(f"{name} {index}: {reason}; scores {item['score']} and {theirs}")
        elif item["score"] != theirs:
            note(f"{name} {index}: the same text, scores {item['score']} and {theirs}: ours {item['output'][-60:]!r}, theirs {text[-60:]!r}")
    value = summary["exact_match,strict-match"]
    parts = f"{same_text} texts the same" + (f"; {len(samples) - same_text} part, rounding explains {explained}" if same_text < len(samples) else "")
    print(f"| {label} | {model.stem} | {limit} | {ours['value']:.4f} | {value:.4f} | {same_score} of {limit} | {parts} |", flush=True)


def compare_choices(args, model, data, limit, folder):
    llama = LlamaCpp(model, 512, args.threads)
    # The harness reads a folder of data by its ending.
    (folder / "jcq.jsonl").write_bytes((data / "jcommonsenseqa/valid-v1.3.json").read_bytes())
    (folder / "harness" / "jcommonsenseqa_choice.yaml").write_text(CHOICE % {"data": folder / "jcq.jsonl"})
    summary, samples = harness(llama, folder / "harness", "jcommonsenseqa_choice", limit)
    ours = ggraft(args, model, folder / "jcommonsenseqa.yaml", limit)
    same, worst = 0, 0.0
    for index, (sample, item) in enumerate(zip(samples, ours["items"], strict=True)):
        theirs = [float(response[0][0]) for response in sample["resps"]]
        off = max(abs(a - b) for a, b in zip(theirs, item["log_likelihoods"], strict=True))
        worst = max(worst, off)
        same += item["score"] == sample["acc"]
        if item["score"] != sample["acc"]:
            best = sorted(theirs)
            gap = best[-1] - best[-2]
            reason = "within that" if gap <= 2 * off else "NOT EXPLAINED"
            note(f"jcommonsenseqa {index}: the two best choices are {gap:.3f} nats apart, the programs {off:.3f}: {reason}")
    parts = f"log-likelihoods within {worst:.3f} nats"
    print(f"| JCommonsenseQA | {model.stem} | {limit} | {ours['value']:.4f} | {summary['acc,none']:.4f} | {same} of {limit} | {parts} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="target/release/ggraft")
    parser.add_argument("--models", nargs="+", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=RECIPES, help="folder that holds gsm8k/ and jcommonsenseqa/")
    parser.add_argument("--words", type=int, default=200, help="word problems of the quickstart, of a merge")
    parser.add_argument("--answers", type=int, default=100, help="GSM8K questions, of the first model")
    parser.add_argument("--choices", type=int, default=200, help="JCommonsenseQA questions, of every model")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    data = args.data.resolve()
    print("| task | model | items | ggraft | harness | same outcome | in detail |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for task in ("gsm8k", "jcommonsenseqa"):
            (folder / f"{task}.yaml").write_bytes((RECIPES / f"{task}.yaml").read_bytes())
            (folder / task).symlink_to(data / task)
        (folder / "harness").mkdir()
        data_of = {"train": data / "gsm8k/train.jsonl", "data": data / "gsm8k/test.jsonl"}
        (folder / "harness" / "gsm8k_first.yaml").write_text(GSM8K % data_of)
        words = {"data": QUICKSTART / "english_math_test.jsonl"}
        (folder / "harness" / "words.yaml").write_text(WORDS % words)
        (folder / "words.yaml").write_text(OUR_WORDS % words)
        if args.words:
            label = "English word problems of the quickstart"
            # A merge that answers some of them, so that right and wrong are both compared.
            merged = folder / "task_arithmetic.gguf"
            subprocess.run([args.program, "export", QUICKSTART / "fixed/task_arithmetic.yaml", "-o", merged], stdout=subprocess.DEVNULL, check=True)
            compare_answers(args, label, merged, "word_problems", folder / "words.yaml", args.words, folder)
        if args.answers:
            compare_answers(args, "GSM8K, 5 examples", args.models[0], "gsm8k_first", folder / "gsm8k.yaml", args.answers, folder)
        for model in args.models:
            if args.choices:
                compare_choices(args, model, data, args.choices, folder)


if __name__ == "__main__":
    main()
