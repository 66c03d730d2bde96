"""Ourselves, asked and ended as the peers are: executed, not forked from what is warm already."""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from stage import Daemon, config, model

from peers.program import Model
from tests.scenarios.edged import EdgedDaemon

CARD = {"name": "Fake 32 GB", "total_mb": 32768, "release_lag_s": 0.0}
SMALL_CARD = CARD | {"total_mb": 1000}  # the small real model takes 752 MB
VRAM_MB = 20_000
LOAD_S = 1  # of the small real model; learned only where a model takes VRAM, which none does here


class Ours:
    """With stand-ins, unless there is a `llama-server` for the files of the models."""

    own_server: ClassVar[bool] = False

    def __init__(
        self,
        *,
        edged: bool = False,
        fake: dict | None = None,
        binary: Path | None = None,
        patience_s: float | None = None,
    ) -> None:
        self.name = "ours, behind the edge" if edged else "ours"
        if patience_s is not None:
            self.name += f", patience_s: {patience_s:g}"
        self._scheduling = {} if patience_s is None else {"patience_s": patience_s}
        self._kind = EdgedDaemon if edged else Daemon
        self._fake = fake or {}
        self._binary = binary
        self._ended = contextlib.ExitStack()
        self._daemon: Daemon | None = None

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None, "it does not run"
        return self._daemon

    @property
    def url(self) -> str:
        return self.daemon.url

    def version(self) -> str:
        return "this commit"

    def start(self, models: Sequence[Model]) -> str:
        folder = self._ended.enter_context(tempfile.TemporaryDirectory(prefix="bench-ours-"))
        self._daemon = self._kind(Path(folder), self._settings(models))
        self._ended.callback(self._daemon.clean_up)
        self._daemon.executed = True
        self._daemon.start()
        return self.url

    def _settings(self, models: Sequence[Model]) -> dict:
        if self._binary is None:
            slots = self._fake.get("slots", 1)
            fake = {key: value for key, value in self._fake.items() if key != "slots"}
            named = {each.name: model(VRAM_MB, slots=slots, fake=fake) for each in models}
            return config(named, devices={"fake": [CARD]}, scheduling=self._scheduling)
        named, roots = {}, set()
        for each in models:
            assert each.file is not None
            roots.add(str(each.file.resolve().parent))
            named[each.name] = {
                "service": "llama",
                "file": str(each.file.resolve()),
                "threads": 1,
                "context_size": 2048,
                "load_seconds": LOAD_S,
            }
        own = {"engine": "llama_cpp", "runtime": "process", "binary": str(self._binary)}
        services = {"llama": own | {"allowed_roots": sorted(roots)}}
        sections = {"services": services, "scheduling": self._scheduling}
        return config(named, devices={"fake": [SMALL_CARD]}, **sections)

    def server_port(self, name: str) -> int:
        return int(self.daemon.endpoint(name).rpartition(":")[2])

    def kill(self) -> None:
        self.daemon.kill()

    def start_again(self) -> None:
        self.daemon.start()

    def unused(self) -> int:
        """Servers that run and that it does not know."""
        return len(self.daemon.servers()) - len(self.daemon.loaded())

    def stop(self) -> None:
        self._ended.close()
        self._daemon = None
