"""Rows of SECURITY.md that no one part keeps alone; each against the real daemon."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.pace import crowd
from tests.scenarios.daemon import Daemon, command, config, free_port, model

TOKEN = "hf_" + "CanaryCanaryCanary" * 2
SPEAKER = """#!/bin/sh
if [ "$1" = --help ]; then echo "-m,    --model FNAME   path"; exit 0; fi
echo "error: failed to open $0/weights" >&2
exit 1
"""


def made_key(daemon: Daemon, name: str, *scopes: str) -> str:
    words = [word for scope in scopes for word in ("--scope", scope)]
    own = ("--config", str(daemon.file), "--json")
    code, said = command(daemon.directory, "keys", "create", name, *words, *own)
    assert code == 0, said
    return said.split('"key": "')[1].split('"')[0]


def test_errors_carry_no_absolute_path(daemons, tmp_path):
    """But for admins, who can do something about what lies there."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "bad.gguf").write_bytes(b"GGUF" + bytes(60))
    server = tmp_path / "llama-server"
    server.write_text(SPEAKER)
    server.chmod(0o755)
    local = {"engine": "llama_cpp", "binary": str(server), "models_dir": str(models)}
    daemon = daemons(
        {
            "bad": {"service": "local", "file": "bad.gguf", "vram_mb": 10},
            "exits": model(10, fake={"fail": "exits"}),
        },
        services={"rehearsal": {"engine": "fake"}, "local": local},
    )
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    asked = [
        ("POST", "/models/load", {"model": "bad"}),
        ("POST", "/models/load", {"model": "exits"}),
        ("POST", "/models/load", {"model": "none"}),
        ("POST", "/models/estimate", {"service": "local", "file": "bad.gguf"}),
        ("POST", "/models/estimate", {"service": "local", "file": "none.gguf"}),
        ("POST", "/models/estimate", {"service": "local", "file": "/etc/passwd"}),
        ("POST", "/models/estimate", {"service": "local", "file": "../../../etc/passwd"}),
        ("PUT", "/models/x", {"service": "local", "file": "none.gguf"}),
        ("POST", "/v1/chat/completions", {"model": "bad"} | chat),
        ("POST", "/v1/messages", {"model": "bad", "max_tokens": 1} | chat),
        ("POST", "/api/chat", {"model": "bad"} | chat),
        ("POST", "/api/generate", {"model": "bad", "prompt": "hi"}),
        ("GET", "/models/bad/logs", None),
        ("GET", "/upstream/bad/x", None),
    ]

    def bodies(key):
        headers = {"Authorization": f"Bearer {key}"}
        for method, path, body in asked:
            answer = daemon.http.request(method, path, json=body, headers=headers)
            if answer.status_code >= 400:
                yield f"{method} {path}: {answer.text}"

    admin = made_key(daemon, "admin", "admin")
    narrow = made_key(daemon, "narrow", "load", "lease")
    told, heard = list(bodies(admin)), list(bodies(narrow))
    assert len(heard) >= len(asked) - 2
    inside = (str(tmp_path), str(Path.home()), str(daemon.directory), "/etc/")
    assert any(path in text for text in told for path in inside), "an admin is told where"
    for text in heard:
        assert not any(path in text for path in inside), text
    assert any("llama-server --version ended" in text for text in heard), "\n".join(heard)


# --- what servers say of themselves ------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ENDLESS = b"x" * 65536


def _endless(line: socket.socket) -> None:
    line.sendall(OK + b"\r\n")
    while True:
        line.sendall(ENDLESS)


def _endless_head(line: socket.socket) -> None:
    """A gigabyte of it, if anybody would read so much."""
    line.sendall(OK + b"X-Long: ")
    for _ in range((1 << 30) // len(ENDLESS)):
        line.sendall(ENDLESS)


def _said(body: bytes):
    def say(line: socket.socket) -> None:
        line.sendall(OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))

    return say


_FIGURES = b"""llamacpp:requests_processing NaN
llamacpp:requests_deferred -Inf
llamacpp:prompt_tokens_total 1e400
llamacpp:tokens_predicted_total -5
"""
HOSTILE = {
    "an endless body": _endless,
    "an endless head": _endless_head,
    "NaN": _said(_FIGURES),
    "numbers of JSON": _said(b'[{"id": NaN, "n_ctx": 1e999, "is_processing": Infinity}]'),
    "depth": _said(b"[" * 200_000),
    "nothing": lambda line: None,
    "no HTTP": lambda line: line.sendall(bytes(4096)),
    "a redirect": lambda line: line.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    ),
}


@contextmanager
def lying(say) -> Iterator[tuple[str, list[str]]]:
    """A server that is healthy, and answers all else with lies; and what it was asked."""
    asked: list[str] = []

    def talk(line: socket.socket) -> None:
        with closing(line), suppress(OSError):
            head = line.recv(65536).decode("latin-1")
            if not head:  # a look whether anybody is here
                return
            asked.append(path := head.split(" ")[1])
            (_said(b'{"status": "ok"}') if path == "/health" else say)(line)

    def serve() -> None:
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=talk, args=(line,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("say", HOSTILE.values(), ids=HOSTILE)
def test_hostile_probe_answers(daemons, say):
    """They cost little memory and time, and are believed in nothing."""
    with lying(say) as (url, asked):
        daemon = daemons(
            {"liar": {"service": "theirs", "vram_mb": 10}, "a": model(1000)},
            services={
                "theirs": {"engine": "llama_cpp", "runtime": "external", "url": url},
                "rehearsal": {"engine": "fake"},
            },
        )
        assert daemon.process is not None
        itself = psutil.Process(daemon.process.pid)
        before = itself.memory_info().rss
        daemon.load("a")
        daemon.post("/models/load", {"model": "liar", "wait": 5})
        count = len(asked)
        daemon.until(lambda _: len(asked) >= count + 2, "it was asked again and again")
        began = time.monotonic()
        status = daemon.status()
        metrics = daemon.http.get("/metrics").text
        assert time.monotonic() - began < 1 * crowd()
        assert itself.memory_info().rss - before < 100 << 20
        figures = [line for line in metrics.splitlines() if 'model="liar"' in line]
        assert [line for line in figures if line.lower().endswith((" nan", "inf"))] == []
        assert status["used_mb"] <= status["total_mb"]
        assert daemon.loaded()["a"] == "loaded"
        assert "Traceback" not in daemon.log()


# --- what lies about ---------------------------------------------------------------------------


@pytest.fixture
def keyed(tmp_path) -> Iterator[Daemon]:
    """With everything that it keeps: keys, keys of servers, a secret for webhooks, logs, an audit."""
    settings = config(
        {"a": model(1000), "b": model(1000)},
        services={"rehearsal": {"engine": "fake", "closed": True}},
        webhooks={"urls": [f"http://127.0.0.1:{free_port()}/hook"]},
    )
    daemon = Daemon(tmp_path, settings)
    daemon.executed = True  # /proc shows the environment that it was executed with
    daemon.environment["HF_TOKEN"] = TOKEN
    before = os.umask(0)  # what is left to chance would be open
    try:
        daemon.start()
        daemon.load("a")
        daemon.load("b", owner="me")
        daemon.http.headers["Authorization"] = (
            f"Bearer {made_key(daemon, 'admin', 'admin', 'lease')}"
        )
        assert daemon.http.put("/models/a/pin").status_code == 200
        yield daemon
    finally:
        os.umask(before)
        daemon.clean_up()


NO_SECRETS = {"identity", "registry.id", "fake-devices"}


def test_state_dir_modes(keyed):
    state = keyed.directory / "state"
    found = {path: stat.S_IMODE(path.lstat().st_mode) for path in (state, *state.rglob("*"))}
    names = {path.name for path in found}
    assert {"registry.sqlite", "keys.sqlite", "audit.jsonl", "server-keys", "logs"} <= names
    assert found[state] == 0o700, "nobody else comes into it"
    open_ones = [
        f"{path}: {mode:o}"
        for path, mode in found.items()
        if mode & 0o077 and path.name not in NO_SECRETS and path.parent.name not in NO_SECRETS
    ]
    assert "\n".join(open_ones) == ""


def test_no_secret_in_proc(keyed):
    state = keyed.directory / "state"
    secrets = [keyed.http.headers["Authorization"].split()[1]]
    secrets += [file.read_text().strip() for file in (state / "server-keys").iterdir()]
    secrets += [file.read_text().strip() for file in state.glob("webhook-secret")]
    assert len(secrets) >= 3
    assert keyed.process is not None
    itself = psutil.Process(keyed.process.pid)
    others = {*keyed.servers(), *itself.children(recursive=True)}
    assert len(others) >= 2
    for process in (itself, *others):
        shown = " ".join((*process.cmdline(), *process.environ().values()))
        assert not any(secret in shown for secret in secrets), process
        if process != itself:  # which was given it in its environment
            assert TOKEN not in shown, process
