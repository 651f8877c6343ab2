"""Loads `ggraft serve` with many clients while its recipe changes under them, and checks every answer.

Usage: python3 benches/serve_load.py [--minutes 10] [--clients 32] [--swap-every 1.0] [--model recipes/quickstart/recipe.yaml]
                                     [--program target/release/ggraft] [--against URL] [--json]

Before the load, every prompt is answered alone by every variant of the recipe (the same models at other weights). Under load each
answer names the weights that it came from by `system_fingerprint`, and must be what they answer alone. With `--against` the same load
goes to another OpenAI server: no swaps, one variant. Ends with 1 if an answer was wrong or a request failed.
"""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).parents[1]
# Weights that each variant of the recipe multiplies those of its models by; the first is the recipe as it is. They stay near it: far
# from it, answers are babble, in which the best two tokens tie all the time.
FACTORS = [(1, 1), (1.2, 0.8), (0.7, 1.3), (0, 0), (0.5, 0.5)]
MAX_TOKENS = 64
# llama.cpp's kernels sum in another order for other batch shapes, so the last digits of the logits depend on who else is computed. Where
# the best two tokens nearly tie, a greedy answer can turn either way, and neither is wrong. Answers whose closest call, along the way
# they take alone, is nearer than this many nats are left out; what rounding moves is below a tenth of it.
MARGIN = 0.2


class Connection:
    """A kept-open connection to an OpenAI server; a `patient` one is opened anew where the server has closed it between two requests."""

    def __init__(self, url, patient=False):
        self.url = urllib.parse.urlsplit(url)
        self.http, self.patient = None, patient

    def send(self, method, path, body=None):
        fresh = self.http is None
        if fresh:
            self.http = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=300)
        data = None if body is None else json.dumps(body).encode()
        try:
            self.http.request(method, self.url.path.rstrip("/") + path, data, {"content-type": "application/json"})
            response = self.http.getresponse()
        except ConnectionError:
            self.close()
            if fresh or not self.patient:
                raise
            return self.send(method, path, body)
        if response.status >= 400:
            raise OSError(f"{method} {path}: {response.status} {response.read()[:500].decode(errors='replace')}")
        return response

    def json(self, method, path, body=None):
        return json.load(self.send(method, path, body))

    def close(self):
        if self.http is not None:
            self.http.close()
        self.http = None


class Answer(collections.namedtuple("Answer", "text fingerprint tokens latency first")):
    """A completion: text, whose it is, how many tokens, seconds until its end and until its first token (None if not streamed)."""


def complete(connection, request, stream):
    """One completion, streamed or in one piece."""
    start = time.monotonic()
    if not stream:
        answer = connection.json("POST", "/v1/completions", request)
        count = answer["usage"]["completion_tokens"]
        return Answer(answer["choices"][0]["text"], answer.get("system_fingerprint"), count, time.monotonic() - start, None)
    response = connection.send("POST", "/v1/completions", {**request, "stream": True, "stream_options": {"include_usage": True}})
    text, first, fingerprints, count, pieces, done = "", None, set(), None, 0, False
    for line in response:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise OSError(f"in a stream: {chunk['error']}")
        fingerprints.add(chunk.get("system_fingerprint"))
        count = (chunk.get("usage") or {}).get("completion_tokens", count)
        for choice in chunk["choices"]:
            first = first or (time.monotonic() - start if choice["text"] else None)
            text += choice["text"]
            pieces += 1
    if not done or len(fingerprints) != 1:
        raise OSError(f"a stream without end, or of several models: {fingerprints}")
    return Answer(text, fingerprints.pop(), pieces if count is None else count, time.monotonic() - start, first)


def closest_call(connection, model, prompt):
    """The answer alone, and the smallest distance of its best two tokens, that of ending where it ends included; None where the server
    gives no log-probabilities."""
    request = {"prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0, **model}
    alone = complete(connection, request, stream=False)
    try:
        # Echo has an entry for every position, also for the end of text after the last one.
        again = connection.json(
            "POST", "/v1/completions", {**request, "prompt": prompt + alone.text, "max_tokens": 1, "logprobs": 2, "echo": True}
        )
        entries = again["choices"][0]["logprobs"]
        positions = list(zip(entries["text_offset"], entries["token_logprobs"], entries["top_logprobs"]))
    except (OSError, KeyError, TypeError):
        connection.close()
        return alone, None
    margin = float("inf")
    for number, (offset, own, top) in enumerate(positions):
        if top is None or offset < len(prompt):
            continue
        best, second = sorted(top.values(), reverse=True)[:2]
        # What was generated is not always how the text is tokenized: then it is not the way that was taken.
        taken = number == len(positions) - 1 or own == best
        margin = min(margin, best - second if taken else 0)
    return alone, margin


def variants(recipe):
    """The recipe at other weights, as JSON, which is YAML."""
    weighted = [m for m in recipe["models"] if isinstance(m.get("parameters", {}).get("weight"), (int, float))]
    if len(weighted) < 2:
        sys.exit("error: the load needs a recipe of two or more models with a plain `weight` each")
    for factors in FACTORS:
        changed = json.loads(json.dumps(recipe))
        for model in changed["models"]:
            if model in weighted:
                model["parameters"]["weight"] *= factors[weighted.index(model) % len(factors)]
        yield changed


def prompts(count):
    """Questions in both languages, a file's lines in turn."""
    files = [HERE / "recipes" / "quickstart" / name for name in ("target_test.jsonl", "english_math_test.jsonl")]
    rows = [[json.loads(line)["prompt"] for line in file.read_text().splitlines()] for file in files]
    return [prompt for pair in zip(*rows) for prompt in pair][:count]


class Memory(threading.Thread):
    """Looks at a process's resident memory once a second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.samples, self.over = pid, [], threading.Event()

    def look(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.startswith(("VmRSS", "RssAnon"))}
        return kilobytes["VmRSS"] / 1000, kilobytes["RssAnon"] / 1000

    def run(self):
        while not self.over.wait(1):
            try:
                self.samples.append(self.look())
            except (OSError, KeyError):
                return


class Load:
    """What clients ask, and what came of it."""

    def __init__(self, options, url, expected, model):
        self.options, self.url, self.expected, self.model = options, url, expected, model
        self.lock, self.over = threading.Lock(), threading.Event()
        self.answers, self.swaps, self.errors, self.mixed_up = [], [], [], []

    def fail(self, what):
        with self.lock:
            self.errors.append(what)
        time.sleep(0.1)

    def client(self, number):
        r = random.Random(number)
        connection = Connection(self.url, patient=bool(self.options.against))
        questions = sorted({prompt for _, prompt in self.expected})
        while not self.over.is_set():
            prompt = r.choice(questions)
            request = {"prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0, **self.model}
            try:
                answer = complete(connection, request, stream=r.random() < 0.75)
            except (OSError, ValueError, KeyError, http.client.HTTPException) as e:
                connection.close()
                self.fail(repr(e))
                continue
            # Weights that nobody asked for are as wrong as another answer than theirs.
            key = (answer.fingerprint, prompt)
            alone = self.expected.get(key)
            with self.lock:
                self.answers.append(answer._replace(text=None))
                if key not in self.expected or alone is not None and answer.text != alone:
                    self.mixed_up.append({"prompt": prompt, "fingerprint": answer.fingerprint, "got": answer.text, "alone": alone})
        connection.close()

    def swapper(self, recipe_id, recipes):
        r = random.Random(0)
        connection = Connection(self.url)
        next_swap, last = time.monotonic(), None
        while not self.over.wait(max(0, next_swap - time.monotonic())):
            next_swap += self.options.swap_every
            last = r.choice([i for i in range(len(recipes)) if i != last])
            start = time.monotonic()
            try:
                swap = connection.json("PUT", f"/v1/recipes/{recipe_id}", recipes[last])["swap"]
            except (OSError, ValueError, KeyError, http.client.HTTPException) as e:
                connection.close()
                self.fail(repr(e))
                continue
            with self.lock:
                self.swaps.append((time.monotonic() - start, swap["merge_seconds"]))
        connection.close()


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def start_server(options):
    command = [options.program, "serve", options.model, "--port", "0", "--parallel", str(options.clients), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    said = b""
    while not said.rstrip().endswith(b"}"):
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            sys.exit("error: the server did not start")
        said += piece
    return process, json.loads(said)["url"]


def measure(options, url, pid):
    connection = Connection(url, patient=bool(options.against))
    questions = prompts(options.prompts)
    recipes, recipe_id, model, expected = [None], None, {}, {}
    if not options.against:
        recipe_id = pathlib.Path(options.model).stem
        model = {"model": recipe_id}
        recipes = list(variants(connection.json("GET", f"/v1/recipes/{recipe_id}")["recipe"]))
    print(f"answering {len(questions)} prompts alone by {len(recipes)} variants", file=sys.stderr)
    margins = []
    for recipe in recipes:
        if recipe is not None:
            connection.json("PUT", f"/v1/recipes/{recipe_id}", recipe)
        for prompt in questions:
            alone, margin = closest_call(connection, model, prompt)
            margins.append(margin)
            expected[alone.fingerprint, prompt] = alone.text if margin is not None and margin >= MARGIN else None
    connection.close()
    load = Load(options, url, expected, model)
    memory = Memory(pid) if pid else None
    threads = [threading.Thread(target=load.client, args=(i,), daemon=True) for i in range(options.clients)]
    if recipe_id is not None:
        threads.append(threading.Thread(target=load.swapper, args=(recipe_id, recipes), daemon=True))
    print(f"{options.clients} clients for {options.minutes} minutes", file=sys.stderr)
    start, before = time.monotonic(), memory and memory.look()
    for thread in [*threads, *([memory] if memory else [])]:
        thread.start()
    time.sleep(60 * options.minutes)
    load.over.set()
    for thread in threads:
        thread.join(300)
    seconds = time.monotonic() - start
    result = {
        "seconds": seconds,
        "clients": options.clients,
        "requests": len(load.answers),
        "tokens": sum(a.tokens for a in load.answers),
        "tokens_per_second": sum(a.tokens for a in load.answers) / seconds,
        "latency_ms": [1000 * percentile([a.latency for a in load.answers], share) for share in (0.5, 0.9, 0.99)],
        "first_token_ms": [1000 * percentile([a.first for a in load.answers if a.first], share) for share in (0.5, 0.9, 0.99)],
        "swaps": len(load.swaps),
        "swap_ms": [1000 * percentile([s for s, _ in load.swaps], share) for share in (0.5, 0.9, 0.99)],
        "merge_ms": [1000 * percentile([m for _, m in load.swaps], share) for share in (0.5, 0.9, 0.99)],
        "variants": len(recipes),
        "checked_pairs": sum(text is not None for text in expected.values()),
        "close_calls": sum(margin is not None and margin < MARGIN for margin in margins),
        "errors": load.errors,
        "mixed_up": load.mixed_up,
        "memory": None,
    }
    if memory:
        memory.over.set()
        memory.join()
        # From the first tenth on, when every slot has been used: what grows after that would grow for ever.
        samples = memory.samples or [memory.look()]
        tenths = [samples[len(samples) * i // 10] for i in range(1, 10)] + [samples[-1]]
        result["memory"] = {name: {"start": before[i], "tenths": [m[i] for m in tenths]} for i, name in enumerate(("resident", "anonymous"))}
    return result


def table(result):
    """The result for people."""
    three = lambda values: " / ".join("-" if value != value else f"{value:.1f}" for value in values)
    rows = [
        ("clients, seconds", f"{result['clients']}, {result['seconds']:.0f}"),
        ("requests", f"{result['requests']}, {result['requests'] / result['seconds']:.1f} per second"),
        ("generated tokens", f"{result['tokens']}, {result['tokens_per_second']:.0f} per second"),
        ("latency p50 / p90 / p99", three(result["latency_ms"]) + " ms"),
        ("first token p50 / p90 / p99", three(result["first_token_ms"]) + " ms"),
        ("swaps", f"{result['swaps']} among {result['variants']} variants"),
        ("swap p50 / p90 / p99", three(result["swap_ms"]) + " ms, running answers waited for"),
        ("merge alone p50 / p90 / p99", three(result["merge_ms"]) + " ms"),
        ("answers to compare with", f"{result['checked_pairs']}; {result['close_calls']} left out as close calls"),
        ("errors", f"{len(result['errors'])}"),
        ("mixed-up answers", f"{len(result['mixed_up'])}"),
    ]
    for name, memory in (result["memory"] or {}).items():
        tenths = " ".join(f"{megabytes:.1f}" for megabytes in memory["tenths"])
        rows.append((f"{name} memory, MB", f"{memory['start']:.1f} at the start; after each tenth of the time {tenths}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}")
    for what in [*result["errors"][:5], *result["mixed_up"][:5]]:
        print(what)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--swap-every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--prompts", type=int, default=32, help="how many different questions")
    parser.add_argument("--model", default=str(HERE / "recipes" / "quickstart" / "recipe.yaml"), help="the recipe to serve and to change")
    parser.add_argument("--program", default=str(HERE / "target" / "release" / "ggraft"))
    parser.add_argument("--against", metavar="URL", help="load this OpenAI server instead: no swaps")
    parser.add_argument("--pid", type=int, help="process whose memory to watch, with --against")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.against:
        result = measure(options, options.against.rstrip("/").removesuffix("/v1"), options.pid)
    else:
        process, url = start_server(options)
        try:
            result = measure(options, url, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(120)
        if code:
            result["errors"].append(f"the server ended with {code}")
    print(json.dumps(result)) if options.json else table(result)
    sys.exit(bool(result["errors"] or result["mixed_up"]))


main()
