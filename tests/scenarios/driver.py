"""Callers and a world that do anything at any time to the real daemon, from one seed.

What each caller does is drawn from the seed; what meets what is not, as in life. A finding names
the seed and what was done last.
"""

import json
import random
import signal
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from tests.scenarios.daemon import Daemon, chat, model

LEASE_S = 3600
CALLERS = 4
REMEMBERED = 60  # of what was done, for a finding
RESTART_S = (
    3.0  # a caller that was cut by a restart so close to its answer may hold what it did not hear
)
CODES = frozenset({200, 201, 202, 204, 404, 409, 422, 502, 503, 507})

MODELS = {
    "a": model(12000, fake={"load_s": 0.05}),
    "b": model(12000, fake={"load_s": 0.2}, priority=7),
    "c": model(14000, fake={"load_s": 0.1, "stop_s": 0.1}),
    "small": model(2000, fake={"load_s": 0.05}, ttl_seconds=3),
    "broken": model(3000, fake={"load_s": 0.05, "fail": "exits"}),
    "mortal": model(3000, fake={"load_s": 0.05, "dies_after_s": 1.0}),
}
SCHEDULING = {
    "patience_s": 2,
    "drain_timeout_s": 2,
    "release_timeout_s": 3,
    "load_deadline_s": 5,
    "stop_grace_s": 0.5,
    "protect_idle_s": 1,
}


@dataclass(slots=True)
class Promise:
    """A lease that was answered: it lasts, unless somebody ended it by force."""

    path: str
    owner: str
    model: str | None  # None: plain VRAM
    granted_s: float


@dataclass
class Driver:
    daemon: Daemon
    seed: int
    held: dict[str, Promise] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)  # owners that were cut by a restart
    forced_s: dict[str, float] = field(default_factory=dict)  # models that were ended by force
    restarted_s: float = 0.0
    findings: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    done: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    count: int = 0

    # --- its life ----------------------------------------------------------------------------

    def drive(self, seconds: float) -> None:
        threads = [
            threading.Thread(
                target=self._live, args=(self._call, random.Random(f"{self.seed}-{n}"))
            )
            for n in range(CALLERS)
        ]
        world = random.Random(f"{self.seed}-world")
        threads.append(threading.Thread(target=self._live, args=(self._happen, world)))
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join()

    def _live(self, act: Any, draw: random.Random) -> None:
        while not self.over.is_set():
            try:
                act(draw)
            except httpx.TransportError:
                time.sleep(0.05)  # the daemon is down
            except Exception as error:  # noqa: BLE001 - a finding like any other
                self._find(f"{type(error).__name__}: {error}")

    def _find(self, what: str) -> None:
        self.findings.append(what)
        self.over.set()

    # --- callers -----------------------------------------------------------------------------

    def _call(self, draw: random.Random) -> None:
        self.count += 1
        acts = (
            *(self._load, self._own, self._own, self._leave, self._leave, self._room),
            *(self._renew, self._release, self._unload, self._pin, self._change_catalogue),
            *(self._look, self._talk),
        )
        draw.choice(acts)(draw)

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        self.done.append(f"{method} {path} {body}")
        with httpx.Client(base_url=self.daemon.url, timeout=30, trust_env=False) as http:
            answer = http.request(method, path, json=body)
        if answer.status_code not in CODES:
            self._find(f"{method} {path} {body}: {answer.status_code} {answer.text}")
        if answer.status_code >= 400 and not answer.json()["error"]["code"]:
            self._find(f"{method} {path}: no error body: {answer.text}")
        return answer

    def _wish(self, draw: random.Random) -> dict[str, Any]:
        wish: dict[str, Any] = {
            "model": draw.choice([*MODELS, "extra"]),
            "wait": draw.choice([0, 1, 5]),
        }
        if draw.random() < 0.2:
            wish["context_size"] = 8192
        if draw.random() < 0.2:
            wish["priority"] = draw.randint(0, 9)
        return wish

    def _load(self, draw: random.Random) -> None:
        self.ask("POST", "/models/load", self._wish(draw))

    def _own(self, draw: random.Random) -> None:
        owner = f"owner-{draw.getrandbits(40):x}"
        wish = self._wish(draw) | {"owner": owner, "lease_seconds": LEASE_S}
        self._hold("/models/load", "/leases", wish, wish["model"])

    def _room(self, draw: random.Random) -> None:
        owner = f"room-{draw.getrandbits(40):x}"
        wish = {"vram_mb": draw.randint(1, 4000), "owner": owner, "ttl_seconds": LEASE_S, "wait": 1}
        self._hold("/vram/leases", "/vram/leases", wish, None)

    def _hold(self, path: str, leases: str, wish: dict[str, Any], name: str | None) -> None:
        self.uncertain.add(wish["owner"])
        asked_s = time.monotonic()
        answer = self.ask("POST", path, wish)
        told = answer.json()
        # 202 and a deadline tell of an operation, whose lease comes later.
        if "operation_id" in told and answer.status_code in (202, 503):
            return
        if "lease_id" in told:
            self.held[told["lease_id"]] = Promise(leases, wish["owner"], name, asked_s)
        self.uncertain.discard(wish["owner"])

    def _leave(self, draw: random.Random) -> None:
        """Ask for something that is held, and hang up unheard."""
        owner = f"gone-{draw.getrandbits(40):x}"
        if draw.random() < 0.3:
            path, wish = "/vram/leases", {"vram_mb": 10, "owner": owner, "ttl_seconds": LEASE_S}
        else:
            path, wish = "/models/load", self._wish(draw) | {"owner": owner, "wait": 5}
        text = json.dumps(wish).encode()
        self.done.append(f"leave {path} {wish}")
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self.uncertain.add(owner)
        began_s = time.monotonic()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.daemon.port)) as line:
            line.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
            time.sleep(draw.choice([0, draw.uniform(0, 0.02), draw.uniform(0, 0.5)]))
            if draw.random() < 0.5:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.3)
        if self.restarted_s < began_s - RESTART_S:
            self.uncertain.discard(owner)

    def _renew(self, draw: random.Random) -> None:
        if self.held:
            lease = draw.choice([*self.held])
            if (promise := self.held.get(lease)) is not None:
                self.ask("PUT", f"{promise.path}/{lease}", {"ttl_seconds": LEASE_S})

    def _release(self, draw: random.Random) -> None:
        for lease in draw.sample([*self.held], min(len(self.held), 3)):
            promise = self.held.pop(lease, None)
            if promise is not None:
                self.uncertain.add(promise.owner)
                self.ask("DELETE", f"{promise.path}/{lease}")
                self.uncertain.discard(promise.owner)

    def _unload(self, draw: random.Random) -> None:
        name, force = draw.choice([*MODELS]), draw.random() < 0.3
        if force:
            self.forced_s[name] = float("inf")
        try:
            self.ask("POST", "/models/unload", {"model": name, "force": force, "wait": 1})
        finally:
            if force:
                self.forced_s[name] = time.monotonic()

    def _pin(self, draw: random.Random) -> None:
        method = "PUT" if draw.random() < 0.3 else "DELETE"
        self.ask(method, f"/models/{draw.choice([*MODELS])}/pin")

    def _change_catalogue(self, draw: random.Random) -> None:
        match draw.randrange(4):
            case 0:
                entry = {"service": "rehearsal", "vram_mb": draw.randint(10, 3000)}
                self.ask("PUT", "/models/extra", entry)
            case 1:
                self.ask("DELETE", "/models/extra")
            case 2:
                self.ask("POST", "/admin/reload", {})
            case _:
                self.ask("POST", "/models/plan", self._wish(draw))

    def _look(self, draw: random.Random) -> None:
        status = self.ask("GET", "/models/status").json()
        for device in status["devices"]:
            if device["state"] == "ok" and device["used_mb"] > device["total_mb"]:
                self._find(f"over budget: {device}")
        self.ask("GET", draw.choice(["/models", "/events", "/leases", "/devices", "/health"]))

    def _talk(self, draw: random.Random) -> None:
        status = self.ask("GET", "/models/status").json()
        there = [each["endpoint"] for each in status["loaded_models"].values() if each["endpoint"]]
        if there:
            with suppress(httpx.TransportError):
                url = draw.choice(there) + "/v1/chat/completions"
                httpx.post(url, json=chat(draw.uniform(0, 0.5)), timeout=5, trust_env=False)

    # --- the world ---------------------------------------------------------------------------

    def _happen(self, draw: random.Random) -> None:
        if self.over.wait(draw.uniform(0.1, 1.5)):
            return
        match draw.randrange(8):
            case 0:
                self._restart(signal.SIGKILL)
            case 1:
                self._restart(signal.SIGTERM)
            case 2 | 3:
                self._hurt(draw, signal.SIGKILL)
            case 4:
                self._hurt(draw, signal.SIGSTOP)
            case 5:
                foreign_mb = draw.choice([0, 1000, 8000])
                self.ask("PUT", "/devices/fake-0/fake", {"foreign_mb": foreign_mb})
            case _:
                fault = draw.choice(["unreadable", "lost", None])
                self.ask("PUT", "/devices/fake-0/fake", {"fault": fault})
                self.over.wait(draw.uniform(0, 1))
                self.ask("PUT", "/devices/fake-0/fake", {"fault": None, "foreign_mb": 0})

    def _restart(self, number: signal.Signals) -> None:
        self.done.append(f"{number.name} of the daemon")
        assert self.daemon.process is not None
        self.restarted_s = float("inf")
        self.daemon.signal(number)
        self.daemon.process.wait(timeout=30)
        self.daemon.start()
        self.restarted_s = time.monotonic()

    def _hurt(self, draw: random.Random, number: signal.Signals) -> None:
        servers = self.daemon.servers()
        if servers:
            victim = draw.choice(servers)
            with suppress(psutil.Error):
                name = victim.environ()["VRAM_ORCHESTRATOR_MODEL"]
                self.done.append(f"{number.name} of {name}")
                self.forced_s[name] = float("inf")
                victim.send_signal(number)
                if number is signal.SIGSTOP:
                    self.over.wait(draw.uniform(0, 3))
                    victim.send_signal(signal.SIGCONT)
                self.forced_s[name] = time.monotonic()

    # --- the end -----------------------------------------------------------------------------

    def check(self) -> None:
        """What must hold when everybody has left and everything is mended."""
        daemon = self.daemon
        for server in daemon.servers():
            server.send_signal(signal.SIGCONT)
        daemon.device(fault=None, foreign_mb=0)
        daemon.until(self._is_quiet, "it comes to rest")
        self._check_leases()
        loaded = {name for name, state in daemon.loaded().items() if state == "loaded"}
        names = [server.environ()["VRAM_ORCHESTRATOR_MODEL"] for server in daemon.servers()]
        assert sorted(names) == sorted(loaded), "what runs is what is said to run, once each"
        status = daemon.status()
        assert status["used_mb"] <= status["total_mb"]
        for name in daemon.loaded():
            daemon.unload(name, force=True)
        assert daemon.servers() == []
        for lease in daemon.http.get("/vram/leases").json()["leases"]:
            daemon.http.delete(f"/vram/leases/{lease['lease_id']}")
        daemon.until(
            lambda s: s["used_mb"] == 0 and s["available_mb"] == s["total_mb"], "all is free"
        )
        assert daemon.end() == 0
        assert "Traceback" not in daemon.log()

    def _is_quiet(self, status: dict[str, Any]) -> bool:
        """`mortal` and `small` leave by themselves."""
        states = {name: each["status"] for name, each in status["loaded_models"].items()}
        passing = {"mortal", "small"} & {*states}
        held = {promise.model for promise in self.held.values()}
        return (
            not status["queue"]
            and set(states.values()) <= {"loaded"}
            and passing <= held | {"small"}
        )

    def _check_leases(self) -> None:
        there = {
            each["lease_id"]: each["owner"]
            for path in ("/leases", "/vram/leases")
            for each in self.daemon.http.get(path).json()["leases"]
        }
        known = {promise.owner for promise in self.held.values()} | self.uncertain
        unheard = {lease: owner for lease, owner in there.items() if owner not in known}
        assert not unheard, f"leases of which nobody heard: {unheard}"
        lost = {
            lease: promise
            for lease, promise in self.held.items()
            if lease not in there
            and (
                promise.model is None
                or (
                    promise.model not in ("mortal", "extra")
                    and self.forced_s.get(promise.model, 0.0) < promise.granted_s
                )
            )
        }
        assert not lost, f"leases that were answered and are gone: {lost}"
