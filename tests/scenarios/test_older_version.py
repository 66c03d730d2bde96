"""An older version is replaced by this one, and comes back, while models serve.

Tried with all that tests/tools/older_version.sh has set up; not in CI, whose clone has no history.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.access.audit.chain import CURRENT, verify
from orchestrator.registry.migrations import MIGRATIONS, version_of
from tests.parts import require
from tests.scenarios.daemon import ROOT, Daemon, config, model

HOME = Path(os.getenv("XDG_CACHE_HOME", Path.home() / ".cache")) / "vram-orchestrator" / "older"
OLDER = sorted(path for path in HOME.glob("*") if path.suffix == "")
MODELS = {"a": model(1000), "b": model(1000), "slow": model(1000, fake={"load_s": 6})}


class Swapped(Daemon):
    """One that changes its version."""

    def is_of(self, source: Path) -> None:
        self.executed, self.import_path = True, (source,)

    def ended(self, *, killed: bool) -> None:
        """Without a word, or as a service is stopped."""
        if killed:
            self.kill()
        else:
            assert self.end() == 0

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Of the version that it has now."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *words, "--config", str(self.file)],
            cwd=self.directory,
            env=self.environment | {"PYTHONPATH": str(self.import_path[0])},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def pids(self) -> dict[str, int]:
        names = ((each.environ()["VRAM_ORCHESTRATOR_MODEL"], each.pid) for each in self.servers())
        return dict(names)

    def leases(self) -> dict[str, str]:
        found = self.http.get("/leases").json()["leases"]
        return {each["lease_id"]: each["owner"] for each in found}

    def texts(self) -> list[str]:
        return [f"{each['kind']} {each['model']}" for each in self.decisions()]

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def schema(self) -> int:
        """Of its registry, while no daemon holds it."""
        with closing(sqlite3.connect(self.state / "registry.sqlite")) as registry:
            return version_of(registry)


@pytest.fixture(params=OLDER or [None], ids=lambda path: path.name[:10] if path else "none")
def older(request) -> Path:
    require("older")
    return Path(request.param)


@pytest.fixture
def daemon(tmp_path, older):
    daemon = Swapped(tmp_path, config(MODELS))
    try:
        daemon.is_of(older)
        daemon.start()
        yield daemon
    finally:
        daemon.clean_up()


def lived_without_its_registry(
    daemon: Swapped, before: Path, pids: dict[str, int], lease: str, *, killed: bool
) -> None:
    """As the guide advises: with none, or with the copy from before; then the newer one is put back."""
    aside = daemon.directory / "aside"
    aside.mkdir()
    for file in daemon.state.glob("registry.sqlite*"):
        file.rename(aside / file.name)
    if not killed:
        for file in before.glob("registry.sqlite*"):
            shutil.copy(file, daemon.state)
    daemon.start()
    assert daemon.leases() == ({} if killed else {lease: "me"})
    daemon.until(lambda _: set(daemon.loaded().values()) == {"loaded"}, "they are found again")
    assert daemon.pids() == pids
    daemon.ended(killed=killed)
    for file in daemon.state.glob("registry.sqlite*"):
        file.unlink()
    for file in aside.iterdir():
        file.rename(daemon.state / file.name)


def given_keys(daemon: Swapped, older: Path) -> bool:
    """Two keys, the second made with the first, where that version knows any."""
    if not (older / "orchestrator" / "access" / "keys").is_dir():
        return False
    made = daemon.command(
        "keys", "create", "admin", "--scope", "admin", "--scope", "lease", "--json"
    )
    assert made.returncode == 0, made.stderr
    key = made.stdout.split('"key"')[1].split('"')[1]
    daemon.http.headers["Authorization"] = f"Bearer {key}"
    narrow = {"name": "narrow", "scopes": ["load", "lease"], "models": ["a", "b"]}
    assert daemon.http.post("/keys", json=narrow).status_code in (200, 201)
    return True


def serves(daemon: Swapped) -> None:
    for name in ("a", "b"):
        order = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        answer = daemon.http.post("/v1/chat/completions", json=order)
        assert answer.status_code in (200, 404), answer.text  # the oldest have no gateway
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize("killed", [True, False], ids=["kill -9", "stopped"])
def test_forward_back_and_forward_again(daemon, older, killed):
    keyed = given_keys(daemon, older)
    daemon.load("a")
    held = daemon.load("b", owner="me", lease_seconds=3600)["lease_id"]
    waiting = daemon.post("/models/load", {"model": "slow", "wait": False}).json()["operation_id"]
    daemon.until(lambda _: "slow" in daemon.pids(), "it loads")
    before, said = daemon.pids(), daemon.texts()
    daemon.ended(killed=killed)
    was, copy = daemon.schema(), daemon.directory / "before"
    shutil.copytree(daemon.state, copy)

    # The present version takes over what runs, and what is known.
    daemon.is_of(ROOT)
    daemon.start()
    assert daemon.leases() == {held: "me"}
    daemon.until(lambda _: set(daemon.loaded().values()) == {"loaded"}, "all of them are ready")
    assert daemon.pids() == before, "none was started anew"
    assert daemon.texts()[: len(said)] == said, "what was decided before is told"
    assert daemon.http.get(f"/operations/{waiting}").status_code == 200
    if keyed:
        assert {one["name"] for one in daemon.http.get("/keys").json()["keys"]} == {
            "admin",
            "narrow",
        }
        assert daemon.http.get("/models", headers={"Authorization": ""}).status_code == 401
    if (daemon.state / CURRENT).exists():
        verify(daemon.state)
    serves(daemon)
    second = daemon.load("a", owner="you", lease_seconds=3600)["lease_id"]
    daemon.ended(killed=killed)
    assert daemon.schema() == MIGRATIONS[-1].version

    # Back: one that does not know the schema says so and changes nothing; others go on.
    registry = (daemon.state / "registry.sqlite").read_bytes()
    daemon.is_of(older)
    if was < MIGRATIONS[-1].version:
        refused = daemon.command("serve", "--port", str(daemon.port))
        assert refused.returncode == 1
        assert "newer" in refused.stderr
        assert (daemon.state / "registry.sqlite").read_bytes() == registry
        assert daemon.pids() == before
        lived_without_its_registry(daemon, copy, before, held, killed=killed)
    else:
        daemon.start()
        assert daemon.leases() == {held: "me", second: "you"}
        serves(daemon)
        daemon.ended(killed=killed)

    # And forward again: nothing is lost.
    daemon.is_of(ROOT)
    daemon.start()
    assert daemon.leases() == {held: "me", second: "you"}
    assert daemon.pids() == before
    if (daemon.state / CURRENT).exists():
        verify(daemon.state)
    serves(daemon)
    assert daemon.http.delete(f"/leases/{second}").status_code < 300
    daemon.unload("a", force=True)
    assert set(daemon.pids()) == {"b", "slow"}
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=60) == 0
    assert "Traceback" not in daemon.log()
