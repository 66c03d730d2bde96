"""What all steps work with: the card, model files, servers started by hand, a real daemon."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from card import MIB, Card
from figures import Figures
from models import grafted, read_head, write_model

from tests.scenarios.daemon import Daemon, free_port

ROOT = Path(__file__).parents[2]
HEADS = ROOT / "tests" / "data" / "footprints"
READY_S_MAX = 90.0  # 17 GB from a cold disk
STOP_S_MAX = 15.0
ANSWER_S_MAX = 60.0
POLL_S = 0.005
READY_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: of a card with more than 24 GB, or of a rehearsal in seconds."""

    footprint_models: tuple[str, ...]
    footprint_settings: int
    swap_pair: tuple[str, str]
    swap_free: int  # what is left to the two of them
    swap_s: float
    swaps_max: int
    written_model: str  # its bytes lie on the disk
    foreign_step: int
    foreign_steps: int
    lease_mb: int
    prompt_words: int
    servers: tuple[str, ...]
    layers: tuple[str, ...]  # how many go to the card; 0: and it is not used at all
    load_modes: tuple[str, ...]
    threads: int | None = None
    arguments: tuple[str, ...] = ()  # of every server


REAL = Sizes(
    footprint_models=("smollm2", "qwen3-0.6b", "qwen3-30b-a3b"),
    footprint_settings=4,
    swap_pair=("llama31-8b", "qwen35-9b"),
    swap_free=9 << 30,
    swap_s=35.0,
    swaps_max=30,
    written_model="llama31-8b",
    foreign_step=1 << 30,
    foreign_steps=6,
    lease_mb=8192,
    prompt_words=1200,
    servers=("one", "two"),
    layers=("999", "8", "0"),
    load_modes=("none", "mmap"),
)
REHEARSED = Sizes(
    footprint_models=("smollm2",),
    footprint_settings=1,
    swap_pair=("smollm2", "smollm2"),
    swap_free=860 * MIB,
    swap_s=2.0,
    swaps_max=2,
    written_model="smollm2",
    foreign_step=32 * MIB,
    foreign_steps=2,
    lease_mb=64,
    prompt_words=2,
    servers=("one",),
    layers=("8",),
    load_modes=("mmap",),
    threads=1,  # several would wait for one another on a busy machine
    arguments=("--no-warmup",),
)


@dataclass(slots=True)
class Server:
    """A llama-server of our own, without the daemon."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    ready_s: float = 0.0

    def ready(self) -> float:
        """Seconds since its start. Raise RuntimeError: it ended, or is not ready in time."""
        began_s = time.monotonic()
        with httpx.Client(trust_env=False, timeout=5) as http:
            while time.monotonic() - began_s < READY_S_MAX:
                if self.process.poll() is not None:
                    break
                try:
                    if http.get(self.url + "/health").status_code == 200:
                        return time.monotonic() - began_s
                except httpx.TransportError:
                    pass
                time.sleep(READY_POLL_S)
        raise RuntimeError(f"llama-server is not ready: {self.log.read_text()[-400:]}")


@dataclass(slots=True)
class Kit:
    card: Card
    figures: Figures
    server: Path  # llama-server
    donor: Path  # SmolLM2, whole or only its head
    directory: Path
    step: str = ""
    deadline_s: float = field(default=0.0)

    @property
    def sizes(self) -> Sizes:
        return REHEARSED if self.card.rehearsed else REAL

    def tell(self, name: str, value: Any, unit: str = "") -> None:
        self.figures.add(self.step, name, value, unit)

    def left_s(self) -> float:
        """Until the step has to end."""
        return self.deadline_s - time.monotonic()

    def model(self, name: str, *, written: bool = False) -> Path:
        """Made when it is first wanted. Sparse: nearly all of it is zeros that lie on no disk."""
        path = self.directory / f"{name}{'-written' if written else ''}.gguf"
        if not path.exists():
            donor = read_head(self.donor)
            head = donor if name == "smollm2" else grafted(read_head(HEADS / f"{name}.gguf"), donor)
            write_model(head, path.with_suffix(".part"), written=written).rename(path)
        return path

    @contextmanager
    def daemon(self, models: dict[str, dict[str, Any]], **sections: Any) -> Iterator[Daemon]:
        """The real one over the card's driver, gone with what it started when the block ends."""
        folder = self.directory / f"daemon-{self.step}-{time.monotonic_ns()}"
        folder.mkdir()
        settings = {
            "state_dir": "./state",
            "devices": {"source": "nvml", "headroom_mb": 0, "sample_interval_s": 0.2},
            "scheduling": {"min_residency_s": 0, "stop_grace_s": 10},
            "services": {"local": self.service()},
            "models": models,
        } | sections
        daemon = Daemon(folder, settings)
        packed = [
            Path(path) for path in daemon.environment.get("PYTHONPATH", "").split(":") if path
        ]
        daemon.import_path += tuple(packed)
        if self.card.rehearsed and not packed:
            # Forked from a process that the loader has shown the stand-in already: in no time.
            daemon.environment.pop("LD_LIBRARY_PATH", None)
        else:
            daemon.executed = True
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.clean_up()

    def service(self, server: Path | None = None) -> dict[str, Any]:
        binary = str(server or self.server)
        roots = [str(self.directory)]
        return {
            "engine": "llama_cpp",
            "runtime": "process",
            "binary": binary,
            "allowed_roots": roots,
        }

    def spec(self, name: str, **more: Any) -> dict[str, Any]:
        """Nobody says what it takes: it is told from its head."""
        said = {"service": "local", "file": str(self.model(name)), "context_size": 2048}
        said |= {"threads": self.sizes.threads, "extra_args": list(self.sizes.arguments)}
        return said | {"jinja": False} | more

    def servers(self) -> dict[str, dict[str, Any]]:
        """Small ones that are there at once: two on a card, one in a rehearsal."""
        named = {"one": self.spec("smollm2"), "two": self.spec("smollm2", context_size=4096)}
        return {name: named[name] for name in self.sizes.servers}

    @contextmanager
    def serving(self, file: Path, *arguments: str) -> Iterator[Server]:
        """A server that is ready, with every layer on the card."""
        port = free_port()
        log = self.directory / f"server-{self.step}-{port}.log"
        words = [self.server, "-m", file, "--port", port, "-c", 2048, "-np", 1, "-ngl", 999]
        words += ["-t", self.sizes.threads] if self.sizes.threads else []
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*map(str, words), "--fit", "off", *self.sizes.arguments, *arguments],
                stdout=said,
                stderr=said,
            )
        server = Server(process, f"http://127.0.0.1:{port}", log)
        try:
            server.ready_s = server.ready()
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def fill(url: str, words: int, slots: int = 1) -> None:
    """Have a server use all of its buffers: a prompt of some batches for every slot."""
    for slot in range(slots):
        httpx.post(
            url + "/completion",
            json={
                "prompt": "word " * words,
                "n_predict": 4,
                "id_slot": slot,
                "cache_prompt": False,
            },
            timeout=ANSWER_S_MAX,
            trust_env=False,
        ).raise_for_status()
