"""lm-evaluation-harness with its `local-completions` model against the server: the same results as `ggraft score` on the same questions.

Questions are made from the quickstart's: context and reference answer up to its last `=`, and four ways to go on, one of them right.
"""

import json
import math
import random

import lm_eval
import pytest
from conftest import QUICKSTART, ggraft, rows
from lm_eval.tasks import TaskManager

ITEMS = 60
# The harness asks for choices side by side, `ggraft score` for texts one by one. llama.cpp's kernels sum in another order for other
# batch shapes, which moves a log-likelihood by some thousandths of itself; a wrong, a missing or an added token moves it by whole nats.
NATS = 0.05
SHARE = 4e-3
# A context's log-likelihood is taken off on our side. Where it is far below this, its own rounding is all that would be compared.
LIKELY = -40
# Computed one by one on both sides, the numbers are the same but for how they are summed.
SAME = 1e-3
# What is served under a name, and the file or recipe that has the same weights.
SERVED = {"recipe": "recipe.yaml", "chat": "math-Q8_0.gguf"}


def make_items():
    """Ways to go on of different length, in characters and in bytes, so that acc, acc_norm and acc_bytes disagree."""
    r = random.Random(1)
    japanese, english = rows("target_test.jsonl"), rows("english_math_test.jsonl")
    items = []
    for i in range(ITEMS):
        row = (japanese if i % 3 else english)[i]
        right = int(row["answer"])
        one, two, three = (str(right + by) for by in r.sample([1, 2, 10, 20, -1 if right > 9 else 5], 3))
        before, equals, after = row["reference"].rpartition("=")
        say = lambda number: after.replace(row["answer"], number)
        choices = [after, say(one), say(two).partition("#")[0].rstrip(), three + ("個。" if i % 3 else " apples.")]
        r.shuffle(choices)
        items.append({"prompt": row["prompt"] + before + equals, "choices": choices, "gold": choices.index(after)})
    return items


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The questions as data of both programs, and the tasks of each."""
    folder = tmp_path_factory.mktemp("tasks")
    lines = lambda name, items: (folder / name).write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in items))
    lines("choice.jsonl", make_items())
    lines("text.jsonl", [{"text": row["prompt"] + row["reference"]} for row in rows("target_test.jsonl")[:ITEMS]])
    dataset = "dataset_path: json\ntest_split: test\ndataset_kwargs: {data_files: {test: %s}}\n"
    (folder / "harness").mkdir()
    (folder / "harness" / "choice.yaml").write_text(
        "task: choice\noutput_type: multiple_choice\ndoc_to_text: prompt\ndoc_to_choice: choices\ndoc_to_target: gold\ntarget_delimiter: ''\n"
        + dataset % (folder / "choice.jsonl")
        + "metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}]\n"
    )
    (folder / "harness" / "text.yaml").write_text(
        "task: text\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: text\n"
        + dataset % (folder / "text.jsonl")
        + "metric_list: [{metric: byte_perplexity}]\n"
    )
    for metric in ("accuracy", "accuracy_norm"):
        (folder / f"{metric}.yaml").write_text(
            'data: choice.jsonl\nkind: choice\nprompt: "{{ prompt }}"\nchoices: choices\ndelimiter: ""\nanswer: "{{ gold }}"\n' f"metric: {metric}\n"
        )
    return folder


@pytest.fixture(scope="module", params=SERVED)
def evaluated(request, server, folder):
    """What the harness says, with every question's log-likelihoods, of a model on the server."""
    arguments = {
        "model": request.param,
        "base_url": f"{server.url}/v1/completions",
        "tokenizer_backend": "remote",
        "num_concurrent": 4,
        "batch_size": 3,
        "max_length": 256,
    }
    manager = TaskManager(include_path=str(folder / "harness"), include_defaults=False)
    result = lm_eval.simple_evaluate(
        "local-completions", model_args=arguments, tasks=["choice", "text"], task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    result["model"] = str(QUICKSTART / SERVED[request.param])
    return result


def samples(evaluated, task):
    return sorted(evaluated["samples"][task], key=lambda sample: sample["doc_id"])


def log_likelihoods(server, folder, model, texts):
    """Each text's log-likelihood after its first token, by `ggraft score` alone: a perplexity task of one row for each."""
    tasks = []
    for i, text in enumerate(texts):
        (folder / f"{i}.jsonl").write_text(json.dumps({"text": text}) + "\n")
        tasks.append(folder / f"{i}.yaml")
        tasks[-1].write_text(f'data: {i}.jsonl\nkind: perplexity\nprompt: "{{{{ text }}}}"\n')
    values = [result["value"] for result in ggraft("score", model, "--task", *tasks)["results"]]
    return [-math.log(value) * (len(tokens(server, text)) - 1) for value, text in zip(values, texts, strict=True)]


def tokens(server, text):
    return server.http.post("/tokenize", json={"prompt": text}).json()["tokens"]


def test_accuracies_equal_those_of_ggraft_score(evaluated, folder):
    results = evaluated["results"]["choice"]
    acc, acc_norm, acc_bytes = (results[f"{name},none"] for name in ("acc", "acc_norm", "acc_bytes"))
    assert acc != acc_norm, "the test's point: lengths matter"
    tasks = [folder / "accuracy.yaml", folder / "accuracy_norm.yaml"]
    scores = [result["value"] for result in ggraft("score", evaluated["model"], "--task", *tasks)["results"]]
    assert scores == [acc, acc_norm], f"and acc_bytes is {acc_bytes}"


def test_log_likelihood_of_every_choice(evaluated, server, tmp_path):
    items = make_items()[: ITEMS // 2]
    theirs = [[float(r[0][0]) for r in sample["resps"]] for sample in samples(evaluated, "choice")]
    for item in items:
        context = tokens(server, item["prompt"])
        assert all(tokens(server, item["prompt"] + choice)[: len(context)] == context for choice in item["choices"])
    texts = [item["prompt"] + choice for item in items for choice in item["choices"]]
    ours = log_likelihoods(server, tmp_path, evaluated["model"], texts + [item["prompt"] for item in items])
    compared = 0
    for i, (item, likelihoods) in enumerate(zip(items, theirs)):
        context = ours[len(texts) + i]
        if context > LIKELY:
            assert likelihoods == pytest.approx([whole - context for whole in ours[4 * i : 4 * i + 4]], abs=NATS, rel=SHARE), item
            compared += 1
    assert compared >= len(items) // 4


def test_perplexity_equals_that_of_ggraft_score(evaluated, server, folder, tmp_path):
    """The harness conditions the first token on the beginning of text, which `ggraft score` does where the prompt says so."""
    beginning = server.http.get("/tokenizer_info").json()["bos_token"]
    texts = [sample["doc"]["text"] for sample in samples(evaluated, "text")]
    theirs = [float(sample["filtered_resps"][0]) for sample in samples(evaluated, "text")]
    ours = log_likelihoods(server, tmp_path, evaluated["model"], [beginning + text for text in texts])
    assert theirs == pytest.approx(ours, abs=SAME)
    (tmp_path / "all.yaml").write_text(f'data: {folder}/text.jsonl\nkind: perplexity\nprompt: "{beginning}{{{{ text }}}}"\n')
    (score,) = ggraft("score", evaluated["model"], "--task", tmp_path / "all.yaml")["results"]
    count = sum(len(tokens(server, text)) for text in texts)
    assert math.exp(-sum(theirs) / count) == pytest.approx(score["value"], rel=SAME)
    size = sum(len(text.encode()) for text in texts)
    assert evaluated["results"]["text"]["byte_perplexity,none"] == pytest.approx(score["value"] ** (count / size), rel=SAME)
