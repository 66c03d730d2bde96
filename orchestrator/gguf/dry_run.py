"""Asks the engine's own planner what a model will occupy, for what the header cannot tell.

llama-server plans its memory before it loads anything, and logs the plan: started with `--fit on`
and every setting explicit, it prints a table and is killed the moment the table is complete. The
separate tool `llama-fit-params` is not asked because it plans for one output per token of a
batch, where the server plans for one per slot: 284 MiB instead of 118 for an 8B model.

`ggml-rpc-server` can stand in for GPUs, so that a plan for two GPUs can be had where there is
none; without it the server plans for the GPUs that it finds, which costs the driver's overhead
and a recurrent model's state on them for as long as the question takes.
"""

import contextlib
import re
import socket
import subprocess
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import with_companions
from orchestrator.gguf.footprint import MIB, Estimate, Method, Share
from orchestrator.gguf.header import Header
from orchestrator.gguf.settings import Settings

# A plan takes 20-500 ms; a cold disk or a busy GPU driver can take seconds.
DEADLINE_S = 30.0
# `ggml-rpc-server` listens within 20 ms.
PRETEND_DEADLINE_S = 5.0
PRETEND_POLL_S = 0.01
# One entry is some hundred bytes; a search for the largest context asks about twenty of them.
ANSWERS_MAX = 1024
LOG_TAIL_LINES = 20

_TABLE = "| memory breakdown [MiB]"
_HOST_ROW = "Host"  # after the devices; what follows it lies in host RAM as well
_ROW = re.compile(
    r"\|\s+- (?P<name>\S+)[^|]*\|[^|]*?"
    r"(?P<model>\d+) \+\s+(?P<context>\d+) \+\s+(?P<compute>\d+)\)?\s"
)


@dataclass(frozen=True, slots=True)
class Planner:
    """The binary that will serve, and what stands in for GPUs (None: the GPUs themselves)."""

    server: Path
    version: str
    pretend: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def find_planner(directory: Path, *, pretend_gpus: bool = False) -> Planner:
    """The planner among the binaries of a build, or `GgufError` that says which one is missing."""
    server, pretend = directory / "llama-server", directory / "ggml-rpc-server"
    for binary in (server, pretend) if pretend_gpus else (server,):
        if not binary.is_file():
            raise GgufError(
                f"{binary} does not exist: tests/tools/build_llama_cpp.sh builds it, "
                "or install llama.cpp and name its directory"
            )
    return Planner(server, _version(server), pretend if pretend_gpus else None)


class DryRuns:
    """Answers of one planner, kept as long as the files, the arguments and the engine are the same.

    Blocking: run it in a thread. Several threads may ask.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._answers: OrderedDict[tuple[str, ...], Estimate] = OrderedDict()

    def estimate(
        self, header: Header, settings: Settings, deadline_s: float = DEADLINE_S
    ) -> Estimate:
        """The planner's answer, or `GgufError` when it gives none before the deadline."""
        asked = (
            self._planner.version,
            *_identity(header),
            *_arguments(header, settings),
            str(settings.tensor_split),
        )
        known = self._answers.get(asked)
        if known is None:
            known = dry_run(header, settings, self._planner, deadline_s)
            self._answers[asked] = known
            while len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
        return with_companions(known, header, settings)


def dry_run(
    header: Header, settings: Settings, planner: Planner, deadline_s: float = DEADLINE_S
) -> Estimate:
    """What the planner says of the model alone: its plans leave adapters and companions out."""
    header.require_whole_file()
    arguments = _arguments(header, settings)
    count = len(settings.tensor_split)
    if planner.pretend is None or not count:
        # Of the GPUs that it finds, those that the model will be given: a server plans for all.
        devices = ",".join(f"CUDA{number}" for number in range(count)) or "none"
        return _ask(header, settings, planner, [*arguments, "-dev", devices], deadline_s)
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(_pretend_gpu(planner.pretend)) for _ in range(count)]
        servers = ",".join(f"127.0.0.1:{port}" for port in ports)
        devices = ",".join(f"RPC{number}" for number in range(count))
        named = [*arguments, "--rpc", servers, "-dev", devices]
        return _ask(header, settings, planner, named, deadline_s)


def _version(server: Path) -> str:
    done = _run([str(server), "--version"])
    lines = [line for line in done.splitlines() if line.startswith(("version", "built"))]
    if not lines:
        raise GgufError(f"{server} does not tell its version: it does not run on this machine")
    return " ".join(lines)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DEADLINE_S, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GgufError(f"{command[0]} does not run: {error}") from error
    return done.stdout + done.stderr


def _identity(header: Header) -> tuple[str, ...]:
    return tuple(f"{part.path}:{part.size_bytes}:{part.modified_ns}" for part in header.parts)


def _arguments(header: Header, settings: Settings) -> list[str]:
    layers = "999" if settings.gpu_layers == "all" else str(settings.gpu_layers)
    arguments = {
        "-m": str(header.path),
        "-c": str(settings.context_size),
        "-np": str(settings.slots),
        "-b": str(settings.batch),
        "-ub": str(settings.ubatch),
        "-ctk": settings.cache_type_k,
        "-ctv": settings.cache_type_v,
        "-ngl": layers,
        "-fa": "on" if settings.flash_attention else "off",
        "-ncmoe": str(settings.n_cpu_moe),
    }
    if len(settings.tensor_split) > 1:
        arguments["-ts"] = ",".join(str(share) for share in settings.tensor_split)
    flags = [
        "--kv-unified" if settings.unified_cache else "--no-kv-unified",
        "--kv-offload" if settings.cache_on_gpu else "--no-kv-offload",
    ]
    return [*(word for pair in arguments.items() for word in pair), *flags]


# Port 0 lets the system choose, so that a plan never disturbs a server that is running.
_PLAN_ONLY = ("--fit", "on", "-lv", "4", "--host", "127.0.0.1", "--port", "0", "--no-warmup")


def _ask(
    header: Header, settings: Settings, planner: Planner, arguments: list[str], deadline_s: float
) -> Estimate:
    command = [str(planner.server), *arguments, *_PLAN_ONLY, "--cache-ram", "0", "--offline"]
    tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
    started_s = time.monotonic()
    with _started(command, planner.environment) as process:
        timer = threading.Timer(deadline_s, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            rows = list(_rows(process.stdout, tail))
        finally:
            timer.cancel()
            process.kill()
    if not rows:
        late = time.monotonic() - started_s >= deadline_s
        why = f"no answer within {deadline_s:g} s" if late else _complaint(tail)
        raise GgufError(f"{planner.server.name} could not plan {header.path}: {why}")
    return _estimate(header, settings, rows)


@contextlib.contextmanager
def _started(command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone when the block is left, with its outputs in one pipe."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(environment),
        )
    except OSError as error:
        raise GgufError(f"{command[0]} cannot be started: {error}") from error
    with process:
        try:
            yield process
        finally:
            process.kill()


def _rows(lines: Iterator[str], tail: deque[str]) -> Iterator[tuple[str, Share]]:
    """The rows of the table, as soon as they are there; what follows them is not waited for."""
    inside = False
    for line in lines:
        tail.append(line.strip())
        if _TABLE in line:
            inside = True
        elif inside:
            row = _ROW.search(line)
            if row is None:
                return
            yield row["name"], _share(row)


def _share(row: re.Match[str]) -> Share:
    return Share(*(_rounded_up(int(row[name])) for name in ("model", "context", "compute")))


def _rounded_up(whole_mib: int) -> int:
    """The planner cuts the fraction off; a prediction had better not."""
    return (whole_mib + 1) * MIB if whole_mib else 0


def _estimate(header: Header, settings: Settings, rows: list[tuple[str, Share]]) -> Estimate:
    """Raise `GgufError` unless the table is about exactly the GPUs that were asked about."""
    count = len(settings.tensor_split)
    names = [name for name, _ in rows]
    devices = names.index(_HOST_ROW) if _HOST_ROW in names else None
    if devices != count:
        planned = "no host" if devices is None else f"{devices} GPUs"
        raise GgufError(
            f"{header.path} was planned for {planned}, not for {count} GPUs and the host: "
            f"the plan is about {', '.join(names)}"
        )
    overhead = Share(overhead_bytes=settings.gpu_overhead_bytes)
    shares = [share for _, share in rows]
    return Estimate(
        header.architecture,
        Method.DRY_RUN,
        tuple(share + overhead for share in shares[:count]),
        sum(shares[count:], start=Share()),
    )


def _complaint(tail: deque[str]) -> str:
    errors = [line for line in tail if " E " in line or "error" in line]
    return (errors or list(tail) or ["it said nothing"])[-1]


@contextlib.contextmanager
def _pretend_gpu(binary: Path) -> Iterator[int]:
    """The port of a process that answers like a GPU and computes nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with _started([str(binary), "-H", "127.0.0.1", "-p", str(port)], {}) as process:
        deadline_s = time.monotonic() + PRETEND_DEADLINE_S
        while not _listening(port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise GgufError(f"{binary} does not listen on port {port}")
            time.sleep(PRETEND_POLL_S)
        yield port


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
