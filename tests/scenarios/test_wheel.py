"""The package without its repository: its wheel in a fresh environment, as a user installs it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import wheels
from tests.scenarios.daemon import PATIENCE_S, free_port

VERSION = re.compile(r"^orchestrator (\S+) \(Python \S+\)\n$")
HEALTHY = {"status": "healthy", "service": "model-orchestrator"}


@dataclass(frozen=True)
class Installed:
    environment: Path
    home: Path

    @property
    def program(self) -> Path:
        return self.environment / "bin" / "orchestrator"

    def run(self, *words: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.program, *map(str, words)],
            cwd=self.home,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    @property
    def variables(self) -> dict[str, str]:
        """Nothing that leads back to the checkout."""
        path = os.environ["PATH"]  # noqa: TID251 - as from a shell
        return {"HOME": str(self.home), "PATH": path}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """With the versions of the lock, and no index asked."""
    scratch = tmp_path_factory.mktemp("fresh")
    context = wheels.sources(scratch / "context")
    wheel = wheels.build_wheel(context, scratch)
    environment = scratch / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    offline = ("--no-index", "--find-links", wheels.locked_wheels(), "--no-compile")
    wheels.pip("--python", environment / "bin" / "python", "install", "-q", *offline, wheel)
    (scratch / "home").mkdir()
    return Installed(environment, scratch / "home")


def test_it_says_its_version(installed):
    for words in (("--version",), ("version",)):
        done = installed.run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert VERSION.match(done.stdout), done.stdout


def test_it_looks_at_the_machine(installed):
    done = installed.run("doctor", "--json")
    findings = json.loads(done.stdout)["findings"]
    assert {each["what"] for each in findings} >= {"Python", "host RAM", "state_dir", "port"}
    assert not list(installed.home.iterdir()), "looking changes nothing"


def test_it_brings_what_it_reads_at_run_time(installed):
    example = installed.run("config", "example")
    assert "services:" in example.stdout, example.stderr
    assert json.loads(installed.run("config", "schema").stdout)["properties"]


@pytest.fixture
def served(installed) -> Iterator[str]:
    """The daemon on a configuration that needs nothing else."""
    port = free_port()
    file = installed.home / "orchestrator.yaml"
    file.write_text(
        "state_dir: ./state\n"
        "devices: {source: fake, fake: [{name: Pretended, total_mb: 8192}]}\n"
        "services: {trial: {engine: fake, runtime: process}}\n"
        "models: {chat: {service: trial, vram_mb: 4096}}\n"
    )
    words = [installed.program, "serve", "--config", file, "--port", str(port)]
    with (installed.home / "log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=installed.home, env=installed.variables, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(url):
            said = (installed.home / "log").read_text()
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def _answers(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/health", trust_env=False).json() == HEALTHY)
    except httpx.TransportError:
        return False


def test_it_serves_loads_and_shows_its_page(installed, served):
    loaded = installed.run("load", "chat", "--url", served)
    assert loaded.returncode == 0, loaded.stderr
    said = httpx.post(
        f"{served}/v1/chat/completions",
        json={"model": "chat", "messages": [{"role": "user", "content": "hello"}]},
        timeout=PATIENCE_S,
        trust_env=False,
    )
    assert said.status_code == 200, said.text
    assert installed.run("unload", "chat", "--url", served).returncode == 0
    page = httpx.get(f"{served}/docs", trust_env=False)
    assert (page.status_code, "swagger-ui" in page.text) == (200, True)
    script = httpx.get(f"{served}/docs/swagger-ui-bundle.js", trust_env=False)
    assert script.status_code == 200, "what is no Python is in the wheel too"
