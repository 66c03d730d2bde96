"""Pulls the image of a service from its registry, where the operator wants that."""

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.specs import ModelSpec
from orchestrator.downloads import Downloads
from orchestrator.errors import Unreachable
from orchestrator.hub import Phase, Progress
from orchestrator.ports import Tell
from orchestrator.progress import Words, told
from orchestrator.runtimes.docker.answers import EngineRefused, PullLine
from orchestrator.runtimes.docker.engine import DockerEngine
from orchestrator.runtimes.docker.failures import engine_gone

_MIB = 1 << 20


class ImageSupply:
    """Keeps `ports.Supply` for one image."""

    def __init__(
        self, engine: DockerEngine, image: str, downloads: Downloads | None = None
    ) -> None:
        self._engine = engine
        self._image = image
        self._downloads = downloads or Downloads()

    async def would_bring(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - the port's
        try:
            return await self._engine.image_id(self._image) is None
        except (Unreachable, EngineRefused):
            return False  # `bring` says so

    async def bring(self, spec: ModelSpec, tell: Tell) -> ModelSpec | Failure:
        if spec.footprint.unknown:
            return spec
        try:
            if await self._engine.image_id(self._image) is None:
                await self._pull(tell)
        except Unreachable as silent:
            return engine_gone(silent)
        except EngineRefused as refused:
            return _not_pulled(self._image, refused)
        return spec

    async def close(self) -> None:
        self._engine.close()

    async def _pull(self, tell: Tell) -> None:
        title = f"pulling image {self._image}"
        words, layers = Words(title), Layers()
        with self._downloads.one(self._image) as arriving:

            def hear(line: PullLine) -> None:
                layers.hear(line)
                words.say(title + layers.in_words())
                arriving.hear(layers.progress)

            await told(self._engine.pull(self._image, hear), words, tell)


class Layers:
    """The progress of the layers of one image, added up."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def hear(self, line: PullLine) -> None:
        if line.status == "Downloading" and line.total_bytes:
            self._done[line.layer] = line.done_bytes
            self._total[line.layer] = line.total_bytes
        elif line.status in ("Download complete", "Pull complete") and line.layer in self._total:
            self._done[line.layer] = self._total[line.layer]

    @property
    def progress(self) -> Progress:
        """Of the layers whose size is known by now."""
        done, total = sum(self._done.values()), sum(self._total.values())
        return Progress(phase=Phase.DOWNLOADING, done_bytes=done, total_bytes=total)

    def in_words(self) -> str:
        done, total = self.progress.done_bytes, self.progress.total_bytes
        return f": {100 * done // total} %, {done // _MIB} of {total // _MIB} MiB" if total else ""


def _not_pulled(image: str, refused: EngineRefused) -> Failure:
    return Failure(
        reason=FailureReason.IMAGE_MISSING,
        detail=f"The engine has no image {image}, and could not pull it: {refused}",
        remedy=f"Try `docker pull {image}` on the engine's host: its registry may want a login.",
    )
