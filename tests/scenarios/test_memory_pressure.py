"""A daemon that may have 256 MB refuses in words what it has no memory for, and serves on."""

import resource
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.parts import require
from tests.scenarios.daemon import Daemon, config, model
from tests.scenarios.memory_cage import memory_cage

MB = 1 << 20
CAGE = 256 * MB
HEADS = 200  # connections that have sent most of a head
LISTENERS = 60
SLOW = 100
CALLERS = 16
LOG_BYTES = 300 * MB  # more than the cage
ANSWER = [b"y" * 65536] * 100


class Caged(Daemon):
    """With a model that is served outside of the cage, and one inside."""

    def look(self) -> None:
        """It serves as before."""
        assert self.post("/v1/chat/completions", {"model": "a", "messages": []}).status_code == 200
        assert self.http.get("/health").status_code == 200
        assert self.loaded()["a"] == "loaded"


@pytest.fixture
def caged(tmp_path, there) -> Iterator[tuple[Caged, object]]:
    require("memory_cage")
    services = {"theirs": there.service(), "ours": {"engine": "fake", "runtime": "process"}}
    models = {
        "a": {"service": "theirs", "vram_mb": 10},
        "b": model(10) | {"service": "ours"},
    }
    with memory_cage("pressure", CAGE) as cage:
        daemon = Caged(tmp_path, config(models, services=services))
        daemon.executed, daemon.prefix = True, cage.prefix
        try:
            daemon.start()
            daemon.load("a")
            yield daemon, cage
        finally:
            daemon.clean_up()


def sent(daemon: Daemon, path: str, body: bytes) -> tuple[int, str]:
    """The status, and the words that explain it."""
    headers = {"Content-Type": "application/json"}
    try:
        answer = httpx.post(f"{daemon.url}{path}", content=body, headers=headers, timeout=60)
    except httpx.WriteError:  # refused before all was sent
        return 0, ""
    return answer.status_code, answer.text


def chat_of(size: int, sign: str = "x") -> bytes:
    head = '{"model": "a", "stream": false, "messages": [{"role": "user", "content": "'
    return f'{head}{sign}{"x" * size}"}}]}}'.encode()


@contextmanager
def connections(daemon: Daemon, count: int, request: bytes) -> Iterator[list[socket.socket]]:
    """That have sent so much, and take nothing."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            line = stack.enter_context(socket.socket())
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect(("127.0.0.1", daemon.port))
            line.sendall(request)
            opened.append(line)
        yield opened


def test_with_256_mb_it_refuses_in_words_and_serves_on(caged, there):
    daemon, cage = caged
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > HEADS + SLOW

    # Bodies that wait for their answers.
    there.silent_s = 2.0
    with ThreadPoolExecutor(CALLERS) as pool:
        body = chat_of(20 * MB)
        said = list(pool.map(lambda _: sent(daemon, "/v1/chat/completions", body), range(CALLERS)))
    there.silent_s = 0.0
    counts = Counter(status for status, _ in said)
    assert counts[200] >= 1
    assert counts[503] >= CALLERS // 2
    assert set(counts) <= {200, 503, 0}, counts
    assert all("bodies_limit_bytes" in words for status, words in said if status == 503)
    daemon.look()

    # Bodies that take many times their size once they are read.
    for body in (
        chat_of(30 * MB, "\N{GRINNING FACE}"),
        b'{"model": "a", "messages": [], "options": {"x": [' + b"[]," * (9 * MB) + b"[]]}}",
    ):
        status, words = sent(daemon, "/api/chat", body)
        assert (status, "bodies_limit_bytes" in words) == (413, True), words
    status, words = sent(daemon, "/v1/streams/lookup", b'{"conversation_ids": [' + b"[]," * MB)
    assert (status, "too_large" in words) == (413, True), words
    status, words = sent(daemon, "/models/load", b'{"model": "a", "x": [' + b"[]," * MB)
    assert (status, "too_large" in words) == (413, True), words
    daemon.look()

    # Heads, listeners to events, and clients that take nothing of a long answer.
    post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head = post + b"X-Long: " + b"x" * 60_000
    question = post + b'Content-Length: 13\r\n\r\n{"model":"a"}'
    events = b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
    there.answers, there.piece_s = ANSWER, 0.0
    with (
        connections(daemon, HEADS, head),
        connections(daemon, LISTENERS, events),
        connections(daemon, SLOW, question) as slow,
    ):
        daemon.until(lambda _: "do not take their answers" in daemon.log(), "some are cut off")
        assert [line.recv(12) for line in slow[-5:]] == [b"HTTP/1.1 200"] * 5
        daemon.look()
    there.answers = [b'{"ok": true}']
    daemon.look()

    # A log that is larger than the cage.
    daemon.load("b")
    (log,) = (daemon.directory / "state" / "logs").rglob("b*.log")
    with log.open("ab") as file:
        for _ in range(LOG_BYTES // MB):
            file.write(b"x" * (MB - 1) + b"\n")
    answer = daemon.http.get("/models/b/logs")
    assert answer.status_code == 200
    assert len(answer.content) < MB
    daemon.look()
    assert cage.kills == 0
    assert cage.anonymous_bytes < CAGE * 0.9, "with the model's server, and what malloc keeps"
    assert "Traceback" not in daemon.log()
