"""The README's examples of the server, run as they are written; only the port is another one."""

import re
import shlex
import subprocess
import sys

import pytest
from conftest import PROGRAM, QUICKSTART, ROOT

README = (ROOT / "README.md").read_text()
BEGIN, END = "<!-- serve examples -->", "<!-- end of serve examples -->"


def examples():
    """`(language, text)` of the code blocks that a shell or Python can run."""
    assert README.count(BEGIN) == README.count(END) == 1, f"README.md has no examples between `{BEGIN}` and `{END}`"
    part = README[README.index(BEGIN) : README.index(END)]
    return re.findall(r"^```(sh|python)\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def served(start):
    """The server as the README starts it (`ggraft serve ...`, alone in a block), or else with the quickstart's recipe."""
    starts = [text for language, text in examples() if language == "sh" and is_start(text)]
    assert len(starts) <= 1, "the examples start one server"
    if not starts:
        return start(QUICKSTART / "recipe.yaml")
    words = shlex.split(starts[0], comments=True)
    arguments = words[words.index("serve") + 1 :]
    while "--port" in arguments:
        at = arguments.index("--port")
        del arguments[at : at + 2]
    return start(*arguments)


def is_start(text):
    return re.match(r"\s*(\S*/)?ggraft serve ", text) is not None


def test_the_examples_are_there():
    blocks = [text for language, text in examples() if language == "sh" and not is_start(text)]
    assert sum("curl" in text for text in blocks) >= 3


def test_every_example_works(served, tmp_path):
    # Options that make curl fail where the server refuses: it would print the refusal and end well.
    (tmp_path / ".curlrc").write_text("fail-with-body\nno-progress-meter\nmax-time = 120\n")
    key = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{served.url}/v1"}
    environment = {"CURL_HOME": str(tmp_path), "PATH": f"{PROGRAM.parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), **key}
    host, port = served.address
    for language, text in examples():
        if is_start(text):
            continue
        moved = re.sub(r"\b(127\.0\.0\.1|localhost):8080\b", f"{host}:{port}", text)
        assert moved != text or "8080" not in text
        command = ["bash", "-euo", "pipefail", "-c", moved] if language == "sh" else [sys.executable, "-c", moved]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, f"{text}\nended with {run.returncode}:\n{run.stdout}\n{run.stderr}"
        assert run.stdout.strip() or "-o " in text or ">" in text or "DELETE" in text, f"{text}\nprinted nothing"


def test_the_port_of_the_examples_is_the_programs_own():
    assert all(":8080" in text for language, text in examples() if "127.0.0.1" in text or "localhost" in text)
    told = subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, text=True).stdout
    assert re.search(r"--port <PORT>.*?\[default:\s+8080\]", told, re.DOTALL), told
