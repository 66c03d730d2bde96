"""Callers that send bytes to the gateway of the real daemon, nearly requests or not, and leave.

What they send is drawn from a seed; what meets what is not, as in life. A finding names the seed
and the plays that were under way.
"""

import random
import re
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from fuzzing.gateway_requests import Leaving, Play, plays
from tests.scenarios.daemon import Daemon, chat, model

CALLERS = 16
ANSWER_BYTES_MAX = 1 << 20  # of what one caller hears
SHOWN_BYTES = 600  # of a play, in a finding
REMEMBERED = 2 * CALLERS  # plays, for a finding
LOOK_S = 0.5  # between two looks into the daemon's log
HALF_CLOSED_S = 0.2  # so long a caller that sends no more listens on
CONNECT_S = 10.0
SERVES = ("a", "small")  # of MODELS: those that answer when nobody disturbs them
ELSEWHERE = "bent"  # its server is not ours to end
SPARE_DESCRIPTORS = 40  # kept connections to servers, files of the registry

QUICK = {"load_s": 0.05, "tokens_per_s": 500}
MODELS = {
    "a": model(20000, fake=QUICK, slots=2),
    "b": model(20000, fake=QUICK | {"load_s": 0.2}),
    "small": model(1000, fake=QUICK, slots=4, aliases=["little"], concurrency=2),
    "huge": model(90000),
    "broken": model(1000, fake={"fail": "exits"}),
    "mortal": model(1000, fake=QUICK | {"dies_after_s": 1.0}),
    ELSEWHERE: {"service": "elsewhere", "vram_mb": 10},
}
NAMES = (
    *("a", "a", "b", "small", "small", "little", "huge", "broken", "mortal", ELSEWHERE, ELSEWHERE),
    *("best", "task:quick", "a:latest"),
)
SECTIONS: dict[str, Any] = {
    "gateway": {
        "heartbeat_s": 0.1,
        "wait_s": 3,
        "chains": {"best": ["huge", "b"]},
        "tasks": {"quick": "small"},
        "default_model": "small",
    },
    "scheduling": {
        "patience_s": 2,
        "drain_timeout_s": 2,
        "release_timeout_s": 3,
        "load_deadline_s": 5,
        "stop_grace_s": 0.5,
        "protect_idle_s": 0.5,
    },
}

_TROUBLE = re.compile(r"Traceback|never retrieved|never awaited|Exception in|ASGI")
_OUR_500 = re.compile(rb"HTTP/1\.1 500 (?:(?!\r\n\r\n).)*", re.DOTALL)
_OF_A_SERVER = b"x-model"  # an answer that has it was passed on
_MISTAKE = b'"code":"internal"'


@dataclass
class Wire:
    daemon: Daemon
    seed: int
    count: int = 0
    findings: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    done: deque[Play] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def drive(self, seconds: float) -> None:
        threads = [threading.Thread(target=self._call, args=[number]) for number in range(CALLERS)]
        threads.append(threading.Thread(target=self._watch))
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join()

    # --- callers -----------------------------------------------------------------------------

    def _call(self, number: int) -> None:
        for play in plays(NAMES, random.Random(f"{self.seed}-{number}")):
            if self.over.is_set():
                return
            self.count += 1
            self.done.append(play)
            heard = self._performed(play)
            ours = [head for head in _OUR_500.findall(heard) if _OF_A_SERVER not in head.lower()]
            if ours or _MISTAKE in heard:
                self._find(f"answered {heard[:2000]!r} to {_shown(play)}")

    def _performed(self, play: Play) -> bytes:
        """What was heard. Whoever is not let in any more finds that out in the end."""
        heard = bytearray()
        with suppress(OSError), socket.create_connection(self._address, CONNECT_S) as line:
            for piece, pause_s in play.pieces:
                line.sendall(piece)
                time.sleep(pause_s)
            _listen(line, heard, play.listens_s)
            match play.leaving:
                case Leaving.RESETS:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                case Leaving.HALF_CLOSES:
                    line.shutdown(socket.SHUT_WR)
                    _listen(line, heard, HALF_CLOSED_S)
                case Leaving.CLOSES:
                    pass
        return bytes(heard)

    @property
    def _address(self) -> tuple[str, int]:
        return "127.0.0.1", self.daemon.port

    # --- what must not be --------------------------------------------------------------------

    def _watch(self) -> None:
        with (self.daemon.directory / "daemon.log").open(errors="replace") as log:
            while not self.over.wait(LOOK_S):
                self._look(log.read())
            self._look(log.read())

    def _look(self, said: str) -> None:
        trouble = _TROUBLE.search(said)
        if trouble is not None:
            self._find(said[max(0, trouble.start() - 500) :][:6000])
        assert self.daemon.process is not None
        if self.daemon.process.poll() is not None:
            self._find("the daemon has ended")

    def _find(self, what: str) -> None:
        recent = "\n".join(map(_shown, self.done))
        self.findings.append(f"seed {self.seed}: {what}\nThe last plays:\n{recent}")
        self.over.set()

    def check(self) -> None:
        """What must hold when all of them have left."""
        daemon = self.daemon
        try:
            daemon.until(self._is_quiet, "no request is under way and no route counts one")
        except AssertionError as never:
            loaded = {
                name: each["in_flight"] for name, each in daemon.status()["loaded_models"].items()
            }
            raise AssertionError(f"under way: {self._running()}, counted: {loaded}") from never
        for path in ("/leases", "/vram/leases"):
            assert daemon.http.get(path).json()["leases"] == []
        assert daemon.http.get("/health/ready").status_code == 200
        for name in SERVES:
            answer = daemon.post("/v1/chat/completions", {"model": name, **chat()})
            assert (answer.status_code, answer.headers["X-Model"]) == (200, name), answer.text
        descriptors = psutil.Process(daemon.process.pid).num_fds() if daemon.process else 0
        servers = len(daemon.servers())
        assert descriptors < SPARE_DESCRIPTORS + 10 * servers, "connections that nobody has"
        for name in {*daemon.loaded()} - {ELSEWHERE}:
            daemon.unload(name, force=True)
        daemon.until(lambda _: {*daemon.loaded()} <= {ELSEWHERE}, "all have left")
        assert daemon.servers() == []
        assert daemon.end() == 0
        trouble = _TROUBLE.search(daemon.log())
        assert trouble is None, daemon.log()[-4000:]

    def _running(self) -> list[Any]:
        running: list[Any] = self.daemon.http.get("/requests").json()["running"]
        return running

    def _is_quiet(self, status: dict[str, Any]) -> bool:
        loaded = status["loaded_models"].values()
        return (
            not self._running()
            and not status["queue"]
            and not any(each["in_flight"] or each["busy"] for each in loaded)
            and {each["status"] for each in loaded} <= {"loaded"}
        )


def _listen(line: socket.socket, heard: bytearray, seconds: float) -> None:
    """As long, or until the other end has said all."""
    deadline_s = time.monotonic() + seconds
    while (left_s := deadline_s - time.monotonic()) > 0 and len(heard) < ANSWER_BYTES_MAX:
        line.settimeout(left_s)
        try:
            piece = line.recv(65536)
        except TimeoutError:
            return
        if not piece:
            return
        heard += piece
    line.settimeout(CONNECT_S)


def _shown(play: Play) -> str:
    sent = b"".join(piece for piece, _ in play.pieces)
    cuts = [(len(piece), pause_s) for piece, pause_s in play.pieces]
    more = f" … {len(sent)} bytes" if len(sent) > SHOWN_BYTES else ""
    return f"{sent[:SHOWN_BYTES]!r}{more} {cuts} {play.listens_s} {play.leaving}"
