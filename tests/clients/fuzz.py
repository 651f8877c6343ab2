"""Random requests from a description of the API: mostly valid ones with one thing wrong, some random throughout.

`requests(seed)` yields `(method, path, headers, body)` without end, the same for the same seed.
"""

import json
import random

TEXTS = ["", "a", "緑の卵", "Q: 1+1\nA:", "\0", "\ud800", "🦀" * 50, "../../etc/passwd", "{{ x }}", "<|endoftext|>", "%s%n", "null"]
NUMBERS = [0, -1, 1, 2, 0.5, -0.5, 1e-30, 1e30, 1e308, -1e308, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**63), 10**40, float("nan"), float("inf")]


def text(r):
    return r.choice(TEXTS) if r.random() < 0.7 else "".join(chr(r.choice([r.randrange(128), r.randrange(0xD800)])) for _ in range(r.randrange(60)))


def anything(r, depth=3):
    kinds = [lambda: None, lambda: r.random() < 0.5, lambda: r.choice(NUMBERS), lambda: text(r)]
    if depth:
        kinds += [
            lambda: [anything(r, depth - 1) for _ in range(r.randrange(4))],
            lambda: {text(r): anything(r, depth - 1) for _ in range(r.randrange(4))},
        ]
    return r.choice(kinds)()


def tokens(r):
    return [r.choice([0, 5, 600, 673]) for _ in range(r.randrange(1, 40))]


def prompt(r):
    return r.choice([text, tokens, lambda r: [text(r) for _ in range(r.randrange(1, 3))], lambda r: [tokens(r)]])(r)


def schema(r, depth=2):
    kind = r.choice(["boolean", "integer", "null", "string", "array", "object"] if depth else ["boolean", "null"])
    value = {"type": kind}
    if kind == "object":
        value["properties"] = {name: schema(r, depth - 1) for name in "ab"[: r.randrange(3)]}
    if kind == "array":
        value |= {"items": schema(r, depth - 1), "maxItems": r.randrange(4)}
    if r.random() < 0.2:
        value |= r.choice([{"$ref": "#"}, {"$ref": "http://127.0.0.1:9/x"}, {"pattern": "^(a+)+$"}, {"enum": [1, "a"]}, {"minLength": 10**9}])
    return value


def model(r):
    return r.choice(["recipe", "base-Q8_0", "chat"])


SAMPLING = {
    "model": model,
    "max_tokens": lambda r: r.randrange(1, 4),
    "temperature": lambda r: r.choice([0, 0.8, 2.0]),
    "top_p": lambda r: r.choice([0.1, 0.95, 1]),
    "top_k": lambda r: r.choice([0, 1, 40]),
    "min_p": lambda r: r.random(),
    "n": lambda r: r.randrange(1, 3),
    "seed": lambda r: r.randrange(2**31),
    "stop": lambda r: r.choice(["\n", ["a", "b"], [], None]),
    "stream": lambda r: r.random() < 0.3,
    "frequency_penalty": lambda r: r.uniform(-2, 2),
    "presence_penalty": lambda r: r.uniform(-2, 2),
    "repeat_penalty": lambda r: r.uniform(0.5, 2),
    "repeat_last_n": lambda r: r.randrange(64),
    "logit_bias": lambda r: {str(r.randrange(640)): r.randrange(-100, 101)},
    "grammar": lambda r: r.choice(['root ::= "a" | "b"', "root ::= root", 'root ::= "a"{1,3}', "root ::= x", "", "root ::= [", 'root ::= ("a"*)*']),
    "json_schema": schema,
    "response_format": lambda r: r.choice([{"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": schema(r)}}]),
}
MESSAGES = {"messages": lambda r: [{"role": r.choice(["system", "user", "assistant"]), "content": text(r)} for _ in range(r.randrange(1, 4))]}
WEIGHT = {"weight": lambda r: r.choice([0, 0.3, [0, 1], -1, [{"filter": "mlp", "value": 0.5}, {"value": 0.1}]])}


def recipe(r):
    names = ["base-Q8_0.gguf", "math-Q8_0.gguf", "ja-Q8_0.gguf"]
    methods = ["linear", "slerp", "task_arithmetic", "ties", "dare_ties", "dare_linear", "multislerp", "karcher", "passthrough"]
    models = [{"model": r.choice(names), "parameters": {"weight": WEIGHT["weight"](r)}} for _ in range(r.randrange(1, 4))]
    value = {"merge_method": r.choice(methods), "models": models, "base_model": names[0]}
    if r.random() < 0.2:
        value = {"path": [{"model": r.choice(names), "layer": r.randrange(10), "scale": r.choice([1, 0.5, -1])} for _ in range(r.randrange(1, 12))]}
    if r.random() < 0.2:
        value[r.choice(["out_type", "tokenizer_source", "chat_template", "path_scale", "parameters", "slices"])] = anything(r)
    return value


# Method, path, fields by name (a function for a body that is no object of fields).
ENDPOINTS = [
    ("POST", "/v1/completions", {"prompt": prompt, "echo": lambda r: r.random() < 0.5, "logprobs": lambda r: r.randrange(4), **SAMPLING}),
    ("POST", "/v1/chat/completions", {**MESSAGES, "logprobs": lambda r: True, "top_logprobs": lambda r: r.randrange(4), **SAMPLING}),
    ("POST", "/v1/embeddings", {"model": model, "input": prompt, "encoding_format": lambda r: r.choice(["float", "base64"])}),
    ("POST", "/tokenize", {"prompt": text, "add_special_tokens": lambda r: True, "with_pieces": lambda r: True, "model": model}),
    ("POST", "/detokenize", {"tokens": tokens, "model": model}),
    ("POST", "/v1/recipes/recipe/plan", recipe),
    ("PUT", "/v1/recipes/fuzz", recipe),
    ("DELETE", "/v1/recipes/fuzz", {}),
    ("GET", "/v1/models", {}),
    ("GET", "/v1/recipes", {}),
    ("GET", "/tokenizer_info", {}),
]
REQUIRED = {"prompt", "messages", "input", "tokens", "max_tokens"}
# Most requests generate; recipes are planned and swapped now and then.
WEIGHTS = [30, 25, 10, 8, 5, 8, 3, 1, 1, 1, 1]


def damage(r, value):
    """Replaces, drops or adds something somewhere in `value`."""
    if isinstance(value, dict) and value and r.random() < 0.9:
        key = r.choice(list(value))
        choice = r.random()
        if choice < 0.6:
            value[key] = damage(r, value[key]) if r.random() < 0.4 else anything(r)
        elif choice < 0.8:
            del value[key]
        else:
            value[text(r)] = anything(r)
        return value
    if isinstance(value, list) and value and r.random() < 0.7:
        at = r.randrange(len(value))
        value[at] = damage(r, value[at])
        return value
    return anything(r)


def encode(r, value):
    body = json.dumps(value, ensure_ascii=r.random() < 0.5).encode("utf-8", "surrogatepass")
    if r.random() < 0.05 and body:
        at = r.randrange(len(body))
        body = r.choice([body[:at], body[:at] + bytes([r.randrange(256)]) + body[at + 1 :], body + b"}", b"\xef\xbb\xbf" + body, bytes(r.randrange(256) for _ in range(50))])
    return body


def requests(seed):
    r = random.Random(seed)
    while True:
        method, path, fields = r.choices(ENDPOINTS, WEIGHTS)[0]
        headers = {"content-type": "application/json"}
        if r.random() < 0.02:
            headers["content-type"] = r.choice(["text/plain", "application/yaml", "application/json; charset=utf-8", "application/jsonx", ""])
        if r.random() < 0.02:
            method = r.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
        if r.random() < 0.02:
            path = r.choice(["/v1/recipes/%ff", "/v1/recipes/..%2f..%2fetc", "/v1/models/%00", "//", "/v1/../v1/models", "/playground/..%2f", path + "/", path + "?x=%"])
        if callable(fields):
            value = fields(r)
        else:
            value = {name: make(r) for name, make in fields.items() if name in REQUIRED or r.random() < 0.25}
        if r.random() < 0.6:
            value = damage(r, value)
        yield method, path, headers, None if method in ("GET", "HEAD", "DELETE") else encode(r, value)
