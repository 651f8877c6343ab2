"""The `openai` package against the server: models, chat, completions, log-probabilities, embeddings, errors."""

import asyncio
import base64
import json
import math
import struct

import openai
import pytest
from conftest import QUICKSTART, rows

QUESTION = "Q: Bob had 16 apples. Bob bought 44 apples. How many apples does Bob have now?\nA:"
ANSWERED = "Q: Bob had 16 cups. Bob bought 14. How many cups does Bob have now?\nA:"  # to its end, by the recipe
ANSWER = " Start with 16. Bought 44, so 16+44=60. #### 60"
JAPANESE = rows("target_test.jsonl")[0]["prompt"]


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120)


def ask(text):
    return [{"role": "user", "content": text}]


def tokenize(server, text, **options):
    return server.http.post("/tokenize", json={"prompt": text, **options}).json()["tokens"]


# Models


def test_models_are_listed_in_the_order_of_the_command_line(client, server):
    models = client.models.list().data
    assert [m.id for m in models] == ["recipe", "base-Q8_0", "chat"]
    assert [m.meta["kind"] for m in models] == ["recipe", "file", "recipe"]
    assert [m.meta["chat"] for m in models] == [False, False, True]
    assert len({m.meta["fingerprint"] for m in models}) == 3
    for model in models:
        assert (model.object, model.owned_by) == ("model", "ggraft") and model.created > 1_700_000_000
        assert {"architecture": "llama", "block_count": 8, "context_length": 256, "vocabulary_size": 640}.items() <= model.meta.items()
        assert client.models.retrieve(model.id).meta["fingerprint"] == model.meta["fingerprint"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_health_metrics_and_props(server):
    assert server.http.get("/health").json() == {"status": "ok"}
    metrics = server.http.get("/metrics")
    assert metrics.status_code == 200 and metrics.headers["content-type"].startswith(("text/plain", "application/openmetrics-text"))
    assert all(line.startswith("#") or len(line.rsplit(" ", 1)) == 2 for line in metrics.text.splitlines() if line)
    props = server.http.get("/props").json()
    assert props["models"] == ["recipe", "base-Q8_0", "chat"] and props["total_slots"] >= 1


# Chat


def test_chat_answers_and_counts(client):
    answer = client.chat.completions.create(model="chat", messages=ask(QUESTION), temperature=0, max_tokens=12)
    (choice,) = answer.choices
    assert (answer.object, answer.model, choice.index, choice.message.role) == ("chat.completion", "chat", 0, "assistant")
    assert choice.message.content and choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens <= 256
    assert answer.system_fingerprint == client.models.retrieve("chat").meta["fingerprint"]
    assert {"prompt_n", "prompt_ms", "predicted_n", "predicted_ms", "cache_n"} <= answer.timings.keys()
    assert answer.timings["predicted_n"] == answer.usage.completion_tokens


def test_chat_streams_the_same_text(client):
    request = {"model": "chat", "messages": ask(QUESTION), "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    assert {c.object for c in chunks} == {"chat.completion.chunk"} and len({c.id for c in chunks}) == 1
    assert {c.system_fingerprint for c in chunks} == {whole.system_fingerprint}
    deltas = [c.choices[0].delta for c in chunks if c.choices]
    assert deltas[0].role == "assistant"
    assert "".join(d.content or "" for d in deltas) == whole.choices[0].message.content
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == whole.choices[0].finish_reason and not any(reasons[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    without = list(client.chat.completions.create(**request, stream=True))
    assert all(c.choices and c.usage is None for c in without)


def test_a_character_of_several_tokens_is_streamed_whole(client, server):
    # The models' own words are tokens; these characters are none.
    request = {"model": "recipe", "prompt": JAPANESE, "max_tokens": 64, "extra_body": {"grammar": 'root ::= "猫と犬と😀"'}}
    text = "".join(c.choices[0].text for c in client.completions.create(**request, stream=True) if c.choices)
    whole = client.completions.create(**request).choices[0].text
    assert text == whole == "猫と犬と😀"
    assert any(len(tokenize(server, c)) > 1 for c in text), "the test's point: a character that is no token of its own"


def test_content_may_come_in_parts_and_roles_matter(client):
    request = {"model": "chat", "temperature": 0, "max_tokens": 12}
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[:20]}, {"type": "text", "text": QUESTION[20:]}]}]
    text = lambda messages: client.chat.completions.create(messages=messages, **request)
    assert text(parts).choices == text(ask(QUESTION)).choices
    system = [{"role": "system", "content": "Answer."}, *ask(QUESTION)]
    assert text(system).usage.prompt_tokens > text(ask(QUESTION)).usage.prompt_tokens


def test_the_assistants_own_beginning_is_continued(client, server):
    messages = [*ask(QUESTION), {"role": "assistant", "content": " Start with 16."}]
    answer = client.chat.completions.create(model="chat", messages=messages, temperature=0, max_tokens=24)
    open_turn = client.chat.completions.create(model="chat", messages=ask(QUESTION), max_tokens=1)
    more = len(tokenize(server, " Start with 16."))
    assert answer.usage.prompt_tokens == open_turn.usage.prompt_tokens + more, "nothing closes the turn"


def test_choices_seed_and_stop(client):
    request = {"model": "chat", "messages": ask("本"), "max_completion_tokens": 16, "temperature": 2.0, "seed": 7}
    # The first one computes the prompt, which those after it find done: same numbers to draw from, but for the last digits.
    _, first, second = (client.chat.completions.create(**request, n=3) for _ in range(3))
    assert [c.index for c in first.choices] == [0, 1, 2]
    texts = [c.message.content for c in first.choices]
    assert len(set(texts)) > 1, "choices are drawn apart from each other"
    assert texts == [c.message.content for c in second.choices], "and the same for the same seed"
    assert first.usage.completion_tokens <= 48
    prompt = {"model": "recipe", "prompt": ANSWERED, "temperature": 0, "max_tokens": 48}
    whole = client.completions.create(**prompt).choices[0].text
    assert "#### " in whole
    for stop in ("####", ["nothing", "## "], ["."]):
        cut = client.completions.create(**prompt, stop=stop).choices[0]
        stops = [stop] if isinstance(stop, str) else stop
        assert cut.finish_reason == "stop" and cut.text == whole[: min(whole.index(s) for s in stops if s in whole)]


def test_chat_log_probabilities(client):
    answer = client.chat.completions.create(
        model="chat", messages=ask(QUESTION), temperature=0, max_tokens=8, logprobs=True, top_logprobs=3
    )
    entries = answer.choices[0].logprobs.content
    assert len(entries) in (answer.usage.completion_tokens, answer.usage.completion_tokens - 1)
    assert b"".join(bytes(e.bytes) for e in entries).decode() == answer.choices[0].message.content
    for entry in entries:
        assert len(entry.top_logprobs) == 3 and entry.logprob <= 0
        assert (entry.token, entry.logprob) == (entry.top_logprobs[0].token, entry.top_logprobs[0].logprob), "greedy"
        assert sorted((t.logprob for t in entry.top_logprobs), reverse=True) == [t.logprob for t in entry.top_logprobs]


def test_structured_output(client):
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}, "colour": {"enum": ["red", "green"]}},
        "required": ["sure", "colour"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    for temperature in (0, 1):
        answer = client.chat.completions.create(
            model="chat", messages=ask(QUESTION), max_tokens=150, temperature=temperature, seed=1, response_format=form
        )
        assert answer.choices[0].finish_reason == "stop"
        value = json.loads(answer.choices[0].message.content)
        assert value.keys() == {"sure", "colour"} and value["sure"] in (True, False) and value["colour"] in ("red", "green")
    form = {"type": "json_object"}
    answer = client.chat.completions.create(model="chat", messages=ask(QUESTION), max_tokens=100, response_format=form)
    assert answer.choices[0].message.content.lstrip().startswith("{")
    answer = client.completions.create(
        model="recipe", prompt=QUESTION, max_tokens=32, extra_body={"grammar": 'root ::= " " ("yes" | "no")'}
    )
    assert answer.choices[0].text in (" yes", " no") and answer.choices[0].finish_reason == "stop"


def test_sampling_fields_do_what_they_say(client):
    greedy = client.completions.create(model="recipe", prompt=QUESTION, temperature=0, max_tokens=16).choices[0].text
    request = {"model": "recipe", "prompt": QUESTION, "temperature": 2.0, "max_tokens": 16, "seed": 3}
    for narrow in ({"top_k": 1}, {"min_p": 1.0}):
        assert client.completions.create(**request, extra_body=narrow).choices[0].text == greedy
    assert client.completions.create(**request, top_p=1e-6).choices[0].text == greedy
    anything = {"top_k": 0, "min_p": 0, "top_p": 1}
    assert client.completions.create(**request, extra_body=anything).choices[0].text != greedy


def test_a_banned_token_never_comes_and_a_wanted_one_always(client, server):
    request = {"model": "recipe", "prompt": QUESTION, "temperature": 0, "max_tokens": 4}
    (wanted,) = tokenize(server, "7")
    assert client.completions.create(**request, logit_bias={str(wanted): 100}).choices[0].text == "7777"
    greedy = client.completions.create(**request).choices[0].text
    first = tokenize(server, greedy)[0]
    assert client.completions.create(**request, logit_bias={str(first): -100}).choices[0].text != greedy


def test_a_model_without_template_does_not_chat(client):
    with pytest.raises(openai.BadRequestError, match="template"):
        client.chat.completions.create(model="recipe", messages=ask("hello"))


# Completions


def test_completion_of_the_readmes_recipe(client, server):
    answer = client.completions.create(model="recipe", prompt=QUESTION, temperature=0, max_tokens=48)
    assert answer.object == "text_completion" and answer.model == "recipe"
    assert answer.usage.prompt_tokens == len(tokenize(server, QUESTION))
    left_out = server.http.post("/v1/completions", json={"prompt": QUESTION, "temperature": 0, "max_tokens": 48}).json()
    assert left_out["choices"][0]["text"] == answer.choices[0].text and left_out["model"] == "recipe"
    assert client.completions.create(model="recipe", prompt=QUESTION).usage.completion_tokens <= 16, "OpenAI's default"


def test_prompts_of_every_kind_one_choice_each_in_order(client, server):
    texts = [row["prompt"] for row in rows("target_test.jsonl")[:5]]
    tokens = [tokenize(server, text) for text in texts]
    request = {"model": "recipe", "temperature": 0, "max_tokens": 8, "logprobs": 1}
    alone = [client.completions.create(prompt=text, **request).choices[0].text for text in texts]
    assert client.completions.create(prompt=tokens[0], **request).choices[0].text == alone[0]
    for prompt in (texts, tokens):
        choices = client.completions.create(prompt=prompt, **request).choices
        assert [c.index for c in choices] == list(range(5)) and [c.text for c in choices] == alone
    choices = client.completions.create(prompt=texts, n=2, **request).choices
    assert [c.index for c in choices] == list(range(10)) and [c.text for c in choices] == [t for t in alone for _ in "ab"]


def test_streamed_completions_of_several_prompts(client):
    texts = [row["prompt"] for row in rows("target_test.jsonl")[:3]]
    request = {"model": "recipe", "prompt": texts, "temperature": 0, "max_tokens": 24}
    whole = client.completions.create(**request)
    pieces, reasons = [""] * 3, [None] * 3
    for chunk in client.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            pieces[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert pieces == [c.text for c in whole.choices] and reasons == [c.finish_reason for c in whole.choices]
    assert chunk.usage == whole.usage


# Echo and log-probabilities: what lm-evaluation-harness stands on


def echo(client, prompt, **options):
    request = {"model": "recipe", "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
    return client.completions.create(prompt=prompt, **{**request, **options}).choices


def test_echo_gives_every_prompt_token_and_one_more(client, server):
    end = server.http.get("/tokenizer_info", params={"model": "recipe"}).json()["eos_token"]
    for text in (QUESTION, JAPANESE, QUESTION + ANSWER, end + JAPANESE):
        tokens = tokenize(server, text)
        for prompt in (text, tokens):
            (choice,) = echo(client, prompt)
            entries = choice.logprobs
            lists = (entries.tokens, entries.token_logprobs, entries.top_logprobs, entries.text_offset)
            assert {len(each) for each in lists} == {len(tokens) + 1}
            assert entries.token_logprobs[0] is None and entries.top_logprobs[0] is None
            assert all(isinstance(value, float) and value <= 0 for value in entries.token_logprobs[1:])
            assert entries.text_offset == sorted(entries.text_offset) and entries.text_offset[0] == 0
            assert choice.text.startswith(text.removeprefix(end)) or choice.text.startswith(text)


def test_echo_has_an_entry_for_a_generated_end_of_text(client, server):
    tokens = tokenize(server, QUESTION + ANSWER)
    (choice,) = echo(client, tokens)
    assert choice.finish_reason == "stop" and choice.text == QUESTION + ANSWER, "the test's point: the model ends here"
    assert len(choice.logprobs.token_logprobs) == len(tokens) + 1


def test_no_token_is_added_to_a_prompt_of_tokens(client, server):
    for tokens in ([5], [0], [0, 5, 7], [5] * 200):
        answer = client.completions.create(model="recipe", prompt=tokens, max_tokens=1, temperature=0, echo=True, logprobs=1)
        assert answer.usage.prompt_tokens == len(tokens)
        assert len(answer.choices[0].logprobs.token_logprobs) == len(tokens) + 1


def test_the_chosen_token_is_always_among_the_top_with_the_same_number(client, server):
    """Also where the prompt's token is most unlikely, and where tokens are parts of characters, whose names must not collide."""
    strange = "緑zebra卵@@##かa\n\nQ 緑\u0301龘🦀"
    for count in (1, 3, 5):
        for choice in echo(client, [QUESTION + ANSWER, JAPANESE, strange], logprobs=count):
            entries = choice.logprobs
            for token, value, top in zip(entries.tokens[1:], entries.token_logprobs[1:], entries.top_logprobs[1:]):
                assert top[token] == value and count <= len(top) <= count + 1, (token, value, top)


def test_no_generated_token_leaves_the_prompt_alone(client, server):
    tokens = tokenize(server, QUESTION)
    (choice,) = echo(client, QUESTION, max_tokens=0)
    assert choice.text == QUESTION and choice.finish_reason == "length"
    assert len(choice.logprobs.token_logprobs) == len(tokens)
    (one_more,) = echo(client, QUESTION)
    assert choice.logprobs.token_logprobs == one_more.logprobs.token_logprobs[:-1]


def test_echo_of_several_prompts_keeps_their_order(client, server):
    texts = [row["prompt"] + row["reference"] for row in rows("target_test.jsonl")[:8]]
    tokens = [tokenize(server, text) for text in texts]
    alone = [echo(client, each)[0].logprobs.token_logprobs for each in tokens]
    together = echo(client, tokens)
    assert [c.index for c in together] == list(range(8))
    for one, choice in zip(alone, together):
        assert len(one) == len(choice.logprobs.token_logprobs)
        # Other batch shapes round differently, by far less than one answer differs from another.
        assert sum(one[1:-1]) == pytest.approx(sum(choice.logprobs.token_logprobs[1:-1]), abs=0.05)


def test_log_probabilities_are_normalized(client):
    answer = client.completions.create(model="recipe", prompt=QUESTION, max_tokens=4, temperature=0, logprobs=5)
    entries = answer.choices[0].logprobs
    assert "".join(entries.tokens) == answer.choices[0].text
    for value, top in zip(entries.token_logprobs, entries.top_logprobs):
        assert value == max(top.values()) and 0.5 < sum(map(math.exp, top.values())) <= 1 + 1e-6
    hot = client.completions.create(model="recipe", prompt=QUESTION, max_tokens=1, temperature=5, seed=1, logprobs=5)
    cold = entries.top_logprobs[0]
    assert max(hot.choices[0].logprobs.top_logprobs[0].values()) == pytest.approx(max(cold.values()), abs=1e-3), (
        "they are the model's, whatever is drawn from"
    )


# Tokens


def test_text_survives_the_tokenizer(server):
    for text in (QUESTION, JAPANESE, "a\n\n b\t", "🦀 é", ""):
        answer = server.http.post("/tokenize", json={"prompt": text}).json()
        assert answer["count"] == len(answer["tokens"]) and answer["max_model_len"] == 256
        back = server.http.post("/detokenize", json={"tokens": answer["tokens"]}).json()
        assert back["prompt"] == back["content"] == text
        assert server.http.post("/tokenize", json={"content": text, "add_special": False}).json()["tokens"] == answer["tokens"]
    pieces = server.http.post("/tokenize", json={"prompt": QUESTION, "with_pieces": True}).json()["pieces"]
    assert "".join(pieces) == QUESTION
    info = server.http.get("/tokenizer_info", params={"model": "chat"}).json()
    assert info["vocabulary_size"] == 640 and info["chat_template"]
    assert tokenize(server, info["eos_token"]) == [0]


# Embeddings


def test_embeddings(client, server):
    texts = ["Bob had 16 apples.", "Bob had 17 apples.", JAPANESE]
    answer = client.embeddings.create(model="base-Q8_0", input=texts, encoding_format="float")
    vectors = [each.embedding for each in answer.data]
    assert [each.index for each in answer.data] == [0, 1, 2] and {len(v) for v in vectors} == {128}
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(len(tokenize(server, text)) for text in texts)
    for vector in vectors:
        assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-5)
    dot = lambda a, b: sum(x * y for x, y in zip(vectors[a], vectors[b]))
    assert dot(0, 1) > dot(0, 2) and dot(0, 1) > dot(1, 2)
    # The client asks for base64 by itself and decodes it.
    packed = client.embeddings.create(model="base-Q8_0", input=texts)
    assert [each.embedding for each in packed.data] == [pytest.approx(v, abs=1e-6) for v in vectors]
    raw = server.http.post("/v1/embeddings", json={"model": "base-Q8_0", "input": texts[0], "encoding_format": "base64"}).json()
    bytes_ = base64.b64decode(raw["data"][0]["embedding"])
    assert struct.unpack(f"<{len(bytes_) // 4}f", bytes_) == pytest.approx(vectors[0], abs=1e-6)
    tokens = [tokenize(server, text) for text in texts]
    for of_tokens in (tokens, tokens[0]):
        answer = client.embeddings.create(model="base-Q8_0", input=of_tokens, encoding_format="float")
        assert answer.data[0].embedding == pytest.approx(vectors[0], abs=1e-3)


# Side by side


def test_concurrent_requests_get_their_own_answers(server):
    async def all_at_once():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=120) as client:
            (seven,), (nine,) = tokenize(server, "7"), tokenize(server, "9")

            def request(i):
                bias = {str(seven if i % 2 else nine): 100}
                return client.completions.create(
                    model=("recipe", "base-Q8_0", "chat")[i % 3], prompt=QUESTION, max_tokens=4 + i, temperature=0, logit_bias=bias
                )

            return await asyncio.gather(*(request(i) for i in range(48)))

    for i, answer in enumerate(asyncio.run(all_at_once())):
        assert answer.choices[0].text == ("7" if i % 2 else "9") * (4 + i)
        assert answer.model == ("recipe", "base-Q8_0", "chat")[i % 3]


# Errors


def error(response):
    body = response.json()["error"]
    assert body.keys() >= {"message", "type", "param", "code"} and body["message"]
    return body


def test_errors_are_the_ones_the_package_knows(client, server):
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="nobody", prompt="x")
    assert "nobody" in unknown.value.message and unknown.value.type == "not_found_error"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="recipe", prompt=QUESTION * 20)
    assert long.value.code == "context_length_exceeded" and "256" in long.value.message
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="recipe", prompt="x", temperature="hot")
    assert wrong.value.type == "invalid_request_error" and "temperature" in wrong.value.message
    for bad in ({"temperature": -1}, {"top_p": 2}, {"n": 0}, {"n": -1}, {"logprobs": 100_000}, {"logit_bias": {"x": 1}}):
        with pytest.raises(openai.BadRequestError) as out_of_range:
            client.completions.create(model="recipe", prompt="x", **bad)
        assert next(iter(bad)) in out_of_range.value.message or out_of_range.value.param == next(iter(bad))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="chat", messages=[])
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="base-Q8_0", input="")
    assert error(server.http.post("/v1/completions", content="prompt=x"))["type"] == "invalid_request_error"


def test_status_codes(server):
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert server.http.post("/v1/completions", content="prompt=x", headers=form).status_code == 415
    assert server.http.get("/v1/completions").status_code == 405
    for response in (server.http.get("/v1/completions"), server.http.get("/v1/nothing"), server.http.post("/v1/nothing", json={})):
        error(response)
    assert server.http.get("/v1/nothing").status_code == 404
    assert server.http.get("/v1/study").status_code == 404


def test_a_key_is_asked_for(start):
    server = start(QUICKSTART / "base-Q8_0.gguf", key="secret-key")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret-key", max_retries=0)
    assert client.models.list().data[0].id == "base-Q8_0"
    for key in ("wrong", "secret-ke", "secret-keyy", "Secret-key"):
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key=key).models.list()
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").completions.create(model="base-Q8_0", prompt="x")
    server.http.headers.pop("authorization")
    open_to_all = ["/", "/health"]
    closed = ["/v1/models", "/v1/recipes", "/metrics", "/props", "/tokenizer_info", "/v1/study", "/v1/nothing"]
    assert [server.http.get(path).status_code for path in open_to_all] == [200, 200]
    assert [server.http.get(path).status_code for path in closed] == [401] * len(closed)
    for header in ("secret-key", "Basic secret-key", "Bearer", "bearer wrong", "Bearer secret-key x"):
        assert server.http.get("/v1/models", headers={"authorization": header}).status_code == 401
    assert "secret-key" not in server.stderr()
