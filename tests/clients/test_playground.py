"""The page in headless Chromium, with the mouse and keys that people have: chat, move a slider, see another answer, take the YAML."""

import json
import pathlib
import re
import shutil

import pytest
from conftest import QUICKSTART, ggraft, rows, wait_until
from playwright.sync_api import expect, sync_playwright

QUESTION = rows("target_test.jsonl")[1]["prompt"]
SECONDS = 30_000


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "Chromium is needed to test the page; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        # Chromium's sandbox needs a user that is not root.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def host(start, chat_recipe):
    """A server of the page's own: it changes recipes."""
    return start(QUICKSTART / "recipe.yaml", QUICKSTART / "base-Q8_0.gguf", chat_recipe)


@pytest.fixture
def page(browser, host):
    """The page, ready; afterwards nothing may have gone wrong on its console, nothing may have been fetched from elsewhere."""
    original = host.http.get("/v1/recipes/recipe").json()["recipe"]
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], viewport={"width": 1280, "height": 900})
    context.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    page = context.new_page()
    wrong, elsewhere = [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith((host.url, "data:")) else None)
    assert page.goto(host.url).status == 200
    page.wait_for_selector("body[data-ready=yes]")
    yield page
    context.close()
    host.http.put("/v1/recipes/recipe", json=original)
    # A refusal is said on the page; the browser logs it by itself.
    wrong = [text for text in wrong if not re.search(r"status of 4\d\d", text)]
    assert wrong == [] and elsewhere == []


def ask(page, question=QUESTION):
    """Types the question, sends it, and gives the answer when it is whole."""
    page.fill("#question", question)
    page.click("#send")
    return answer(page)


def answer(page):
    page.wait_for_selector(".turn:last-child .answer[data-state=done]")
    return page.locator(".turn:last-child .answer-text").inner_text()


def alone(host, model, prompt):
    request = {"model": model, "prompt": prompt, "temperature": 0, "top_p": 0.95, "max_tokens": 200}
    return host.http.post("/v1/completions", json=request).json()["choices"][0]["text"]


def test_question_slider_another_answer_and_yaml(page, host, tmp_path):
    first = ask(page)
    assert first.strip() == alone(host, "recipe", QUESTION).strip() and "####" in first
    fingerprint = page.locator("#panel-fingerprint").inner_text()
    # The whole way down: the answer is written anew with the recipe as it is now.
    slider = page.locator('input[type=range][data-slider="math-Q8_0.gguf/weight"]')
    low = float(slider.get_attribute("min"))
    slider.focus()
    page.keyboard.press("Home")
    other = page.locator('input[type=range][data-slider="ja-Q8_0.gguf/weight"]')
    high = float(other.get_attribute("max"))
    other.focus()
    page.keyboard.press("End")
    weights = lambda: [model["parameters"]["weight"] for model in host.http.get("/v1/recipes/recipe").json()["recipe"]["models"][:2]]
    assert wait_until(lambda: weights() == [low, high]), f"{weights()} are served, {[low, high]} are shown"
    expect(page.locator("#panel-fingerprint")).not_to_have_text(fingerprint)
    expect(page.locator(".answer-text")).not_to_have_text(first)
    expect(page.locator("#swap-time")).to_contain_text("merged in")
    served = host.http.get("/v1/recipes/recipe").json()
    second = alone(host, "recipe", QUESTION).strip()
    assert second != first.strip()
    expect(page.locator(".answer-text")).to_have_text(second)
    assert answer(page).strip() == second
    # What is copied is a recipe that the program takes, and the one that answers here.
    page.click("#copy-yaml")
    yaml = page.evaluate("navigator.clipboard.readText()")
    assert yaml == served["yaml"]
    path = tmp_path / "copied.yaml"
    path.write_text(re.sub(r"(\w+-Q8_0\.gguf)", rf"{QUICKSTART}/\1", yaml))
    assert ggraft("inspect", path)["block_count"] == 8
    # Back: the same answer as at first.
    page.click("#undo")
    page.click("#undo")
    expect(page.locator("#panel-fingerprint")).to_have_text(fingerprint)
    expect(page.locator(".answer-text")).to_have_text(first)


def test_a_slider_that_moves_while_the_answer_streams(page, host):
    page.fill("#question", QUESTION)
    page.click("#send")
    slider = page.locator('input[type=range][data-slider="ja-Q8_0.gguf/weight"]')
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    value = float(slider.input_value())
    weight = lambda: host.http.get("/v1/recipes/recipe").json()["recipe"]["models"][1]["parameters"]["weight"]
    assert wait_until(lambda: weight() == pytest.approx(value)), f"{weight()} is served, {value} is shown"
    expect(page.locator("#panel-error")).to_be_hidden()
    expect(page.locator(".answer-text")).to_have_text(alone(host, "recipe", QUESTION).strip())
    answer(page)


def test_two_recipes_side_by_side(page, host):
    page.click("#side-by-side")
    page.locator("[data-testid=recipe-right]").select_option("base-Q8_0")
    page.fill("#question", QUESTION)
    page.click("#send")
    expect(page.locator(".answer[data-state=done]")).to_have_count(2)
    texts = [text.strip() for text in page.locator(".answer-text").all_inner_texts()]
    assert texts == [alone(host, model, QUESTION).strip() for model in ("recipe", "base-Q8_0")]


def test_a_refused_recipe_is_said_and_the_old_one_stays(page, host):
    before = host.http.get("/v1/recipes/recipe").json()["fingerprint"]
    page.locator("#yaml-fold summary").click()
    page.fill("#yaml", "merge_method: linear\nmodels: [{model: stranger.gguf}]\n")
    page.click("#yaml-apply")
    expect(page.locator("#panel-error")).to_contain_text("stranger")
    assert host.http.get("/v1/recipes/recipe").json()["fingerprint"] == before
    assert ask(page).strip() == alone(host, "recipe", QUESTION).strip()


def test_chat_with_a_template_remembers_what_was_said(page, host):
    page.locator("[data-testid=recipe-left]").select_option("chat")
    ask(page, "Q: Bob had 16 apples. Bob bought 44 apples. How many apples does Bob have now?\nA:")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "And how many in all?")
    messages = json.loads(sent.value.post_data)["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]


def test_what_models_say_is_text_and_nothing_else(page, host):
    """Markup in a question, an answer or an error is shown, never run."""
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    ask(page, evil)
    assert page.locator(".turn:last-child").inner_text().count("<img") >= 1 and page.title() == "ggraft playground"
    policy = host.http.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe-eval" not in policy
    assert "script-src" not in policy or "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_every_file_of_the_page_is_served(host):
    folder = pathlib.Path(__file__).parents[2] / "src" / "serve" / "playground"
    names = [path.name for path in folder.iterdir() if path.suffix in (".js", ".css")]
    assert len(names) > 5
    for name in names:
        answer = host.http.get(f"/playground/{name}")
        assert answer.status_code == 200 and answer.text.startswith(("//", "/*"))
        assert answer.headers["content-type"].startswith(("text/javascript", "text/css"))
    for path in ("/playground/../serve/mod.rs", "/playground/..%2fmod.rs", "/playground/nothing.js"):
        assert host.http.get(path).status_code == 404
