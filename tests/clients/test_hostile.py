"""Clients that are slow, broken or malicious: clear refusals, and a server that lives on and keeps nothing of theirs."""

import collections
import concurrent.futures
import http.client
import itertools
import json
import os
import socket
import time

import fuzz
import httpx
import openai
import pytest
from conftest import QUICKSTART, Server, wait_until

MEGABYTE = 1 << 20
JSON = {"content-type": "application/json"}
RANDOM_REQUESTS = int(os.environ.get("GGRAFT_RANDOM_REQUESTS", 10_000))


@pytest.fixture(scope="module")
def victim(start, chat_recipe):
    """A server of this file's own, so that memory and descriptors are counted from a known state."""
    server = start(QUICKSTART / "recipe.yaml", QUICKSTART / "base-Q8_0.gguf", chat_recipe)
    for model in ("recipe", "base-Q8_0", "chat"):
        complete(server, model=model, prompt=["warm up"] * 8)
        server.http.post("/v1/embeddings", json={"model": model, "input": "warm up"})
    return server


@pytest.fixture
def own(tmp_path):
    """A server for one test, which may come to harm without taking the others along."""
    server = Server(tmp_path / "stderr", QUICKSTART / "recipe.yaml")
    complete(server, prompt="warm up")
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture(autouse=True)
def unharmed(victim):
    """After each test it answers as ever, and has let go of every socket."""
    before = victim.descriptors()
    yield
    assert victim.alive(), f"the server ended with {victim.process.returncode}:\n{victim.stderr()[-4000:]}"
    assert "panicked" not in victim.stderr(), victim.stderr()[-4000:]
    assert complete(victim, prompt="Q: 1+1\nA:", temperature=0, max_tokens=2).status_code == 200
    # Which models are live may have changed, and each has some files of its own: a handful, whatever was sent. A leak would be thousands.
    assert wait_until(lambda: victim.descriptors() <= before + 16, 60), f"{victim.descriptors()} descriptors, {before} before"


def complete(server, **request):
    return server.http.post("/v1/completions", json={"max_tokens": 1, **request})


def refused(response, *statuses):
    """The error's message, from a response with one of `statuses` in the API's form."""
    assert response.status_code in statuses, f"{response.status_code}: {response.text[:300]}"
    error = response.json()["error"]
    assert error["message"] and error["type"].endswith("_error") and {"param", "code"} <= error.keys()
    return error["message"]


def connect(server):
    return socket.create_connection(server.address, timeout=60)


def read_response(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


# Bodies


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/tokenize", "/v1/recipes/x"])
def test_a_body_of_100_megabytes_is_refused_unread(victim, path):
    before = victim.memory()
    headers = f"{'PUT' if 'recipes' in path else 'POST'} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with connect(victim) as connection:  # announced, not sent
        connection.sendall(f"{headers}content-length: {100 * MEGABYTE}\r\n\r\n".encode())
        connection.settimeout(10)
        status, body = read_response(connection)
        assert status == 413 and json.loads(body)["error"]["message"]
    with connect(victim) as connection:  # not announced: in chunks until the server has had enough
        connection.sendall(f"{headers}transfer-encoding: chunked\r\n\r\n".encode())
        chunk = b"%x\r\n%s\r\n" % (MEGABYTE, b" " * MEGABYTE)
        try:
            for _ in range(100):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up in the middle, which is its right
        else:
            assert read_response(connection)[0] == 413
    assert victim.memory() - before < 64 * MEGABYTE


def test_a_client_that_sends_100_megabytes_reads_the_refusal(victim):
    """Also one that, like most, reads only after it has sent everything."""
    client = openai.OpenAI(base_url=f"{victim.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.APIStatusError) as refusal:
        client.completions.create(model="recipe", prompt="a" * (100 * MEGABYTE))
    assert refusal.value.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a"} {}',
        b'{"prompt": 1e999}',
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": ' + b"[" * 100_000,
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "{\"prompt\": \"a\"}".encode("utf-16"),
        b"\x1f\x8b\x08\x00" + bytes(100),
    ],
    ids=lambda body: body[:24].decode("latin-1").encode("unicode_escape").decode(),
)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/tokenize"])
def test_what_is_no_request_is_refused(victim, path, body):
    refused(victim.http.post(path, content=body, headers=JSON), 400, 422)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": None},
        {"prompt": 1},
        {"prompt": {}},
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [1, "a"]},
        {"prompt": [["a"]]},
        {"prompt": [-1]},
        {"prompt": [640]},
        {"prompt": [2**40]},
        {"prompt": [1.5]},
        {"prompt": ["a"] * 100_000},
        {"prompt": "a " * 500_000},
        {"prompt": [5] * 100_000},
        {"max_tokens": 1.5},
        {"max_tokens": "1"},
        {"max_tokens": 10**30},
        {"n": 0},
        {"n": 10**9},
        {"n": -1},
        {"temperature": "0"},
        {"temperature": -0.1},
        {"temperature": 1e300},
        {"top_p": -1},
        {"top_p": 1.1},
        {"min_p": 2},
        {"top_k": "many"},
        {"logprobs": -1},
        {"logprobs": 10**9},
        {"seed": "x"},
        {"stop": 1},
        {"stop": ["a", 1]},
        {"stop": ["a"] * 100_000},
        {"stop": ["a" * 1_000_000]},
        {"logit_bias": [1]},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {"640": 1}},
        {"logit_bias": {"1": "a"}},
        {"stream": "yes"},
        {"stream_options": 1},
        {"echo": 3},
        {"model": 5},
        {"model": ["recipe"]},
        {"grammar": 1},
        {"grammar": "root ::= root"},
        {"grammar": "root ::= undefined"},
        {"grammar": "root ::= ["},
        {"grammar": "no root"},
        {"grammar": 'root ::= "a"{1000000}'},
        {"grammar": "root ::= " + "(" * 100_000},
        {"grammar": "a ::= b\nb ::= a\nroot ::= a"},
        {"grammar": "\0"},
        {"json_schema": "x"},
        {"json_schema": {"type": "nothing"}},
        {"json_schema": {"$ref": "http://127.0.0.1:9/schema.json"}},
        {"json_schema": {"$ref": "#/nowhere"}},
        {"json_schema": {"type": "object", "properties": {str(i): {"type": "string"} for i in range(50_000)}}},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": 1},
        {"grammar": 'root ::= "a"', "json_schema": {"type": "null"}},
    ],
    ids=lambda wrong: json.dumps(wrong)[:60],
)
def test_wrong_values_are_refused_by_name(victim, wrong):
    start, before = time.monotonic(), victim.memory()
    message = refused(complete(victim, **{"prompt": "a", **wrong}), 400, 404, 413)
    assert len(message) < 2000, "the message does not send the request back"
    assert time.monotonic() - start < 10 and victim.memory() - before < 200 * MEGABYTE


@pytest.mark.parametrize(
    "messages",
    [
        None,
        "hello",
        [],
        [1],
        [{}],
        [{"role": "user", "content": 1}],
        [{"role": "user", "content": [{"type": "audio"}]}],
        [{"role": 1, "content": "a"}],
        [{"content": "a"}],
        [{"role": "user", "content": "a"}] * 100_000,
    ],
    ids=lambda messages: json.dumps(messages)[:60],
)
def test_wrong_messages_are_refused(victim, messages):
    refused(victim.http.post("/v1/chat/completions", json={"model": "chat", "messages": messages, "max_tokens": 1}), 400, 413)


RECIPE = "merge_method: linear\nmodels: [{model: base-Q8_0.gguf, parameters: {weight: 1}}, {model: math-Q8_0.gguf, parameters: {weight: 1}}]\n"
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    "recipe",
    [
        "",
        "x",
        "[" * 100_000,
        "- " * 50_000,
        BOMB,
        "\xff",
        RECIPE.replace("linear", "magic"),
        RECIPE.replace("base-Q8_0.gguf", "/etc/passwd"),
        RECIPE.replace("base-Q8_0.gguf", "../../../etc/passwd"),
        RECIPE.replace("base-Q8_0.gguf", "recipes/quickstart/base-Q8_0.gguf"),
        RECIPE.replace("base-Q8_0.gguf", "stranger.gguf"),
        RECIPE.replace("weight: 1", "weight: .nan"),
        RECIPE.replace("weight: 1", "weight: .inf"),
        RECIPE.replace("weight: 1", "weight: heavy"),
        RECIPE.replace("weight: 1", "weight: " + "[" * 50 + "1" + "]" * 50),
        RECIPE + "unknown: 1\n",
        RECIPE + "merge_method: linear\n",
        "path: [{model: base-Q8_0.gguf, layers: [0, 1000000000]}]\n",
        "path: [{model: base-Q8_0.gguf, layers: [7, 0]}]\n",
        "path: [{model: base-Q8_0.gguf, layer: -1}]\n",
        f"path: [{','.join(['{model: base-Q8_0.gguf, layer: 1}'] * 20_000)}]\n",
        "slices: [{sources: [{model: base-Q8_0.gguf, layer_range: [0, 4294967296]}]}]\nmerge_method: passthrough\n",
        RECIPE + "chat_template: '{% for i in range(1000000000) %}x{% endfor %}'\n" * 2,
        RECIPE + "chat_template: '{% if %}'\n",
    ],
    ids=lambda recipe: recipe[-50:],
)
def test_wrong_recipes_are_refused_and_change_nothing(victim, recipe):
    before = victim.http.get("/v1/recipes/recipe").json()
    for method, path in (("PUT", "/v1/recipes/recipe"), ("PUT", "/v1/recipes/new"), ("POST", "/v1/recipes/recipe/plan")):
        body = recipe.encode("latin-1") if recipe == "\xff" else recipe.encode()
        if method == "POST" and not body:
            continue  # the plan of the recipe as it is
        message = refused(victim.http.request(method, path, content=body, headers={"content-type": "application/yaml"}), 400, 413)
        assert "root:" not in message, "no line of another file"
    assert victim.http.get("/v1/recipes/recipe").json() == before
    assert victim.http.get("/v1/recipes/new").status_code == 404


def test_a_template_that_never_ends_is_cut_short(victim):
    endless = RECIPE + "chat_template: \"{% for m in messages %}{% for i in range(1000000000) %}{{ m.content }}{% endfor %}{% endfor %}\"\n"
    put = victim.http.put("/v1/recipes/endless", content=endless, headers={"content-type": "application/yaml"})
    assert put.status_code in (201, 400), put.text
    if put.status_code == 201:
        start, before = time.monotonic(), victim.memory()
        request = {"model": "endless", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
        refused(victim.http.post("/v1/chat/completions", json=request), 400)
        assert time.monotonic() - start < 30 and victim.memory() - before < 500 * MEGABYTE
        assert victim.http.delete("/v1/recipes/endless").status_code == 204


def test_the_number_of_virtual_models_is_limited(victim):
    made = []
    try:
        for i in range(2000):
            response = victim.http.put(f"/v1/recipes/many-{i}", content=RECIPE, headers={"content-type": "application/yaml"})
            if response.status_code != 201:
                refused(response, 400, 403, 409, 429)
                break
            made.append(i)
        else:
            pytest.fail("2000 virtual models, and no end")
        assert made, "one may be made"
    finally:
        for i in made:
            assert victim.http.delete(f"/v1/recipes/many-{i}").status_code == 204


def test_recipes_that_are_not_ones_own_are_protected(victim):
    headers = {"content-type": "application/yaml"}
    refused(victim.http.put("/v1/recipes/base-Q8_0", content=RECIPE, headers=headers), 409)
    refused(victim.http.delete("/v1/recipes/recipe"), 409)
    refused(victim.http.delete("/v1/recipes/base-Q8_0"), 409)
    refused(victim.http.delete("/v1/recipes/nobody"), 404)
    refused(victim.http.put("/v1/recipes/x", content=RECIPE, headers={"content-type": "image/png"}), 415)
    for name in ("..%2fx", "a%2fb", "%00", "a" * 10_000, "%ff", "%20", ".."):
        response = victim.http.put(f"/v1/recipes/{name}", content=RECIPE, headers=headers)
        assert 400 <= response.status_code < 500, f"{name[:20]}: {response.status_code}"


# Sockets


def test_half_open_sockets_stand_in_nobodys_way(victim):
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n"
    beginnings = [b"", b"P", b"POST /v1/compl", head, head + b"\r\n", head + b'\r\n{"prompt": "', b"\x16\x03\x01\x02\x00\x01\x00"]
    sockets = [connect(victim) for _ in range(20) for _ in beginnings]
    try:
        for connection, beginning in zip(sockets, itertools.cycle(beginnings)):
            connection.sendall(beginning)
        for connection in sockets[::2]:
            connection.shutdown(socket.SHUT_WR)
        start = time.monotonic()
        assert complete(victim, prompt="a").status_code == 200 and time.monotonic() - start < 10
    finally:
        for connection in sockets:
            connection.close()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("POST /v1/nothing", "application/json"),
        ("PATCH /v1/completions", "application/json"),
        ("POST /v1/completions", "text/plain"),
        ("POST /v1/completions", "application/json"),
    ],
)
def test_an_early_refusal_says_whether_the_connection_goes_on(victim, line, kind):
    """Clients send head and body apart. What is answered in between must not make the next request fail."""
    body, host = b'{"prompt": 1}', "evil.example" if kind == "application/json" and "completions" in line else "localhost"
    with connect(victim) as connection:
        connection.sendall(f"{line} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        connection.settimeout(0.3)
        try:
            early = connection.recv(10_000)
        except TimeoutError:
            early = b""  # it waits for the body, which is as good
        connection.settimeout(30)
        if b"connection: close" in early.lower():
            return
        connection.sendall(body)
        while b"\r\n\r\n" not in early:
            early += connection.recv(10_000)
        assert early.startswith(b"HTTP/1.1 4"), early
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b'{"status":"ok"}' in connection.recv(10_000)


def test_slow_senders_are_served_or_told_that_they_are_too_slow(victim):
    body = b'{"prompt": "a", "max_tokens": 1}'
    request = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    sockets = [connect(victim) for _ in range(16)]
    for byte in request:
        for connection in sockets:
            connection.sendall(bytes([byte]))
        time.sleep(0.01)
    assert [read_response(connection)[0] for connection in sockets] == [200] * 16
    for connection in sockets:
        connection.close()


def test_a_client_that_does_not_read_holds_up_nobody(victim):
    sockets = []
    for _ in range(8):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(victim.address)
        body = json.dumps({"prompt": "Q:", "max_tokens": 200, "stream": True, "logprobs": 5, "logit_bias": {"0": -100}}).encode()
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        sockets.append(connection)
    start = time.monotonic()
    assert complete(victim, prompt="a", max_tokens=8).status_code == 200 and time.monotonic() - start < 20
    swap = victim.http.put("/v1/recipes/recipe", content=RECIPE, headers={"content-type": "application/yaml"})
    assert swap.status_code == 200, "nor a swap, which waits for those who run"
    for connection in sockets:
        connection.close()


def test_clients_that_hang_up_free_their_places(victim):
    body = json.dumps({"prompt": "Q:", "max_tokens": 200, "n": 4, "logit_bias": {"0": -100}}).encode()
    for stream in (b"", b"2"):
        for _ in range(40):
            with connect(victim) as connection:
                text = body.replace(b'"n": 4', b'"n": 4, "stream": true') if stream else body
                connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))
                if stream:
                    connection.recv(100)
    start = time.monotonic()
    assert complete(victim, prompt="a").status_code == 200
    assert time.monotonic() - start < 15, "32000 tokens that nobody waits for are not computed"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: -1\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        os.urandom(2000),
    ],
    ids=lambda garbage: repr(garbage[:40]),
)
def test_what_is_not_http_is_refused_or_cut_off(victim, garbage):
    with connect(victim) as connection:
        try:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1000)
        except OSError:
            return  # it hung up before it had all of that
    assert answer[:10] in (b"", b"HTTP/1.1 4", b"HTTP/1.0 4") or b"HTTP/1.1 505" in answer, answer


def test_pages_elsewhere_cannot_reach_a_local_server(victim):
    """By a name of their own for 127.0.0.1 (DNS rebinding), or by forms, which browsers send anywhere unasked."""
    refused(victim.http.get("/v1/recipes", headers={"host": "evil.example"}), 403)
    refused(victim.http.put("/v1/recipes/x", content=RECIPE, headers={"host": "evil.example", "content-type": "application/yaml"}), 403)
    for form in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"content-type": form, "origin": "https://evil.example"}
        refused(victim.http.post("/v1/completions", content='{"prompt": "a"}', headers=headers), 415)
    answer = victim.http.get("/v1/models", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "costly",
    [
        {"grammar": 'root ::= (((("a"{100}){100}){100}){100})'},
        {"grammar": 'root ::= ("a"?){2000}'},
        {"grammar": 'root ::= (("a"?){50}){50}'},
        {"grammar": 'root ::= ("a"? "b"?){500}'},
        {"grammar": 'root ::= (("a" | ""){50}){50}'},
        {"grammar": "root ::= " + "x " * 20 + "\nx ::= " + "y " * 20 + "\ny ::= " + "z " * 10 + '\nz ::= "a" |'},
        {"grammar": 'root ::= ("a"*)*'},
        {"grammar": "root ::= " + " | ".join(f'"{i}"' for i in range(100_000))},
        {"grammar": "root ::= [a-z]* root | [a-z]"},
        {"json_schema": {"type": "string", "pattern": "^(((a{1000}){1000}){1000})$"}},
        {"json_schema": {"type": "string", "pattern": "^(a|a?)+$"}},
        {"json_schema": {"type": "string", "pattern": "^((a?){50}){50}$"}},
        {"json_schema": {"type": "string", "minLength": 2000, "maxLength": 10**9}},
        {"json_schema": {"enum": ["x" * 100] * 50_000}},
        {"json_schema": {"type": "object", "properties": {str(i): {"type": "string"} for i in range(3000)}}},
        {"repeat_last_n": 10**9, "repeat_penalty": 1.1},
        {"n": 128, "logprobs": 20},
        {"n": 128, "logit_bias": {str(i): 1 for i in range(600)}},
        {"stop": ["a" * 1000] * 60},
    ],
    ids=lambda costly: json.dumps(costly)[:60],
)
def test_costly_wishes_do_not_cost_the_others(own, costly):
    """Granted or refused, but soon, and whoever asks meanwhile is answered."""
    before = own.memory()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        wish = pool.submit(httpx.post, f"{own.url}/v1/completions", json={"prompt": "a", "max_tokens": 8, **costly}, timeout=30)
        time.sleep(0.05)
        assert httpx.get(f"{own.url}/health", timeout=10).status_code == 200
        other = httpx.post(f"{own.url}/v1/completions", json={"prompt": "a", "max_tokens": 1}, timeout=30)
        assert other.status_code == 200
        assert wish.result().status_code in (200, 400) and time.monotonic() - start < 30
    assert own.memory() - before < 300 * MEGABYTE


def test_compressed_bombs_are_not_unpacked(victim):
    headers = {**JSON, "content-encoding": "gzip"}
    refused(victim.http.post("/v1/completions", content=b"\x1f\x8b" + bytes(1000), headers=headers), 400, 415)


# Random requests


def test_random_requests(victim):
    """The server answers each, never with a fault of its own, and is no larger afterwards than after the first thousand."""
    statuses = collections.Counter()
    faults = []

    def one(request):
        method, path, headers, body = request
        try:
            response = clients[hash(method + path) % len(clients)].request(method, path, headers=headers, content=body)
        except httpx.HTTPError as e:
            faults.append((method, path, body, repr(e)))
            return
        statuses[response.status_code] += 1
        fine = response.status_code < 500
        if fine and response.status_code >= 400 and method != "HEAD":
            try:
                fine = bool(response.json()["error"]["message"])
            except (ValueError, KeyError, TypeError):
                fine = False
        if not fine or response.status_code >= 400 and b"event: error" in response.content:
            faults.append((method, path, body, response.status_code, response.text[:500]))

    stream = fuzz.requests(seed=1)
    # Bodies of our own making: let httpx send headers and paths as they are.
    clients = [httpx.Client(base_url=victim.url, timeout=60) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(one, itertools.islice(stream, 1000)))
        warm = victim.memory()
        list(pool.map(one, itertools.islice(stream, RANDOM_REQUESTS - 1000)))
    for client in clients:
        client.close()
    assert not faults, f"{len(faults)} faults, the first: {faults[0]}"
    assert sum(statuses.values()) == RANDOM_REQUESTS
    assert statuses[200] > RANDOM_REQUESTS / 10 and statuses[400] > RANDOM_REQUESTS / 10, f"a good mix: {statuses}"
    grown = victim.memory() - warm
    assert grown < 64 * MEGABYTE, f"{grown} bytes more after {RANDOM_REQUESTS} requests than after 1000"
