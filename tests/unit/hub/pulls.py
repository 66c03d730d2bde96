"""What the tests of pulls share: a stand-in hub with one repository, and a cache of its own."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.hub.progress import Patience, Progress
from orchestrator.hub.pulling import pull
from tests.standins.hub import StandInHub, stand_in_hub

REPO = "org/Small-GGUF"
MODEL = "small-Q4_K_M.gguf"
BYTES = b"GGUF" + os.urandom(300_000)


@dataclass
class Pulls:
    """One operator: a hub, a cache, and everything that was reported and slept."""

    hub: StandInHub
    home: Path
    told: list[Progress] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    @property
    def patience(self) -> Patience:
        return Patience(connect_s=5, read_s=0.5, lock_idle_s=3, sleep=self.slept.append)

    def pull(
        self,
        reference: str = REPO,
        *,
        token: str | None = None,
        free: int = 1 << 40,
        watch: Callable[[Progress], None] | None = None,
        patience: Patience | None = None,
        endpoint: str | None = None,
    ) -> Path:
        def report(progress: Progress) -> None:
            self.told.append(progress)
            if watch is not None:
                watch(progress)

        return pull(
            reference,
            home=self.home,
            endpoint=endpoint or self.hub.url,
            token=token,
            progress=report,
            patience=patience or self.patience,
            free_bytes=lambda _: free,
        )

    def blobs(self) -> dict[str, int]:
        folder = self.home / "hub" / "models--org--Small-GGUF" / "blobs"
        return {path.name: path.stat().st_size for path in folder.glob("*")}

    def leave(self, content: bytes, path: str = MODEL) -> Path:
        """As if an earlier pull had ended after these bytes."""
        folder = self.home / "hub" / "models--org--Small-GGUF" / "blobs"
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{self.hub.digest(path)}.incomplete"
        partial.write_bytes(content)
        return partial


@contextmanager
def pulls(home: Path, files: dict[str, bytes] | None = None) -> Iterator[Pulls]:
    with stand_in_hub(REPO, {MODEL: BYTES} if files is None else files) as hub:
        yield Pulls(hub, home)
