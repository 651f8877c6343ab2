"""Starts `ggraft serve` for the tests with real clients: the built program, on a port of its own, offline.

The environment variable `GGRAFT` names the program (default: target/release/ggraft).
"""

import json
import os
import pathlib
import select
import signal
import subprocess
import time

import httpx
import pytest

ROOT = pathlib.Path(__file__).parents[2]
QUICKSTART = ROOT / "recipes" / "quickstart"
PROGRAM = pathlib.Path(os.environ.get("GGRAFT", ROOT / "target" / "release" / "ggraft")).absolute()
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# A server on two busy cores needs a moment to merge its models, never this long.
START_SECONDS = 120

# Before any test imports a Hugging Face library, and for every program that a test starts.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_EVALUATE_OFFLINE="1", NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")


class Server:
    """A running `ggraft serve`: its URL, a plain HTTP client, and what the kernel knows of the process."""

    def __init__(self, log, *arguments, key=None, cwd=ROOT, port=0):
        self.log = pathlib.Path(log)
        self.key = key
        command = [PROGRAM, "serve", *map(str, arguments), "--port", str(port), "--json"]
        command += ["--api-key", key] if key else []
        with open(log, "wb") as stderr:
            self.process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=stderr)
        try:
            self.url = self._wait_for_url()
        except BaseException:
            self.process.kill()
            raise
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=120)

    def _wait_for_url(self):
        said, end = b"", time.monotonic() + START_SECONDS
        while select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
            piece = os.read(self.process.stdout.fileno(), 4096)
            said += piece
            if said.rstrip().endswith(b"}"):
                return json.loads(said)["url"].rstrip("/")
            if not piece:
                break
        raise AssertionError(f"`ggraft serve` did not say where it listens; it wrote:\n{self.stderr()}")

    @property
    def address(self):
        url = httpx.URL(self.url)
        return url.host, url.port

    def stderr(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def memory(self):
        """Resident bytes of its own (RssAnon): mapped model files come and go as the kernel likes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        """Ends it as a user would; it must go in good order."""
        self.http.close()
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"`ggraft serve` did not end within a minute of SIGTERM:\n{self.stderr()}") from None
        assert "panicked" not in self.stderr(), self.stderr()
        assert code == 0, f"`ggraft serve` ended with {code}:\n{self.stderr()}"


def ggraft(*arguments):
    """What another command of the program says with `--json`."""
    run = subprocess.run([PROGRAM, *map(str, arguments), "--json"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def wait_until(condition, seconds=30):
    """Whether `condition` comes true in time."""
    end = time.monotonic() + seconds
    while not (done := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return done


def rows(name):
    """The rows of one of the quickstart's data files."""
    return [json.loads(line) for line in (QUICKSTART / name).read_text().splitlines()]


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts servers with other arguments than the common one's; all are stopped, and must end in good order."""
    assert PROGRAM.exists(), f"{PROGRAM} is not there: run `make build` first, or name the program in GGRAFT"
    servers = []

    def start(*arguments, **options):
        servers.append(Server(tmp_path_factory.mktemp("log") / "stderr", *arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def chat_recipe(tmp_path_factory):
    """A recipe with a chat template, which the quickstart's models do not have."""
    path = tmp_path_factory.mktemp("models") / "chat.yaml"
    path.write_text(f"merge_method: passthrough\nmodels:\n  - model: {QUICKSTART}/math-Q8_0.gguf\nchat_template: {json.dumps(CHATML)}\n")
    return path


@pytest.fixture(scope="session")
def server(start, chat_recipe):
    """The common server: the quickstart's recipe (first, so it answers requests without `model`), a file, and a recipe that chats."""
    return start(QUICKSTART / "recipe.yaml", QUICKSTART / "base-Q8_0.gguf", chat_recipe)


@pytest.fixture(autouse=True)
def survives(request):
    """After each test, the servers that it used still run."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        assert server.alive(), f"the server ended with {server.process.returncode}:\n{server.stderr()}"
        assert server.http.get("/health").status_code == 200
