"""What people would use instead, started on the same servers: one module for one of them.

Nothing is fetched or built here: what is not on PATH, and not named, is not in the room.
"""

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers.large_model_proxy import LargeModelProxy
from peers.llama_router import CONTEXT, THREADS, LlamaRouter
from peers.llama_swap import LlamaSwap
from peers.ollama import Ollama
from peers.program import Model, Peer, Program

__all__ = [
    "Model",
    "Peer",
    "Program",
    "Room",
    "add_options",
    "edge_can_be_here",
    "in_the_room",
    "words_of",
    "words_of_llama_server",
]

KINDS: tuple[type[Program], ...] = (LlamaRouter, LlamaSwap, LargeModelProxy, Ollama)
BUILT = Path(__file__).parents[2] / "tests" / "tools" / "build_llama_cpp.sh"


@dataclass(frozen=True)
class Room:
    """Who is there, and what is said of those who are not."""

    peers: Sequence[Program]
    absent: Sequence[str]

    def with_any_server(self) -> Sequence[Program]:
        """Those that start what they are told: a stand-in too."""
        return [peer for peer in self.peers if not peer.own_server]

    def llama_server(self) -> Path | None:
        """The one that is named, or on PATH, or built for the tests."""
        routers = (each.binary for each in self.peers if isinstance(each, LlamaRouter))
        return next(routers, None)

    def say(self) -> None:
        for peer in self.peers:
            print(f"peer: {peer.name}, {peer.version()}")
        for sentence in self.absent:
            print(f"peer: {sentence}")


def add_options(parser: argparse.ArgumentParser) -> None:
    for kind in KINDS:
        said = f"where {kind.name} is, if not on PATH"
        parser.add_argument(option(kind), type=Path, default=None, metavar="PATH", help=said)


def option(kind: type[Program]) -> str:
    return f"--{kind.program}"


def words_of(said: argparse.Namespace) -> list[str]:
    """The same options, for a script that takes them too."""
    told = {option(kind): getattr(said, kind.program.replace("-", "_")) for kind in KINDS}
    return [word for name, path in told.items() if path is not None for word in (name, str(path))]


def in_the_room(said: argparse.Namespace) -> Room:
    peers, absent = [], []
    for kind in KINDS:
        told: Path | None = getattr(said, kind.program.replace("-", "_"))
        found = str(told) if told is not None else shutil.which(kind.program)
        if found is None and kind is LlamaRouter:
            found = built_llama_server()
        if found is None:
            absent.append(f"{kind.name} is not here: no {kind.program} on PATH, no {option(kind)}")
        elif not Path(found).is_file():
            raise SystemExit(f"{option(kind)}: there is no file {found}")
        else:
            peers.append(kind(Path(found).resolve()))
    return Room(peers, absent)


def words_of_llama_server(binary: Path, file: Path) -> Sequence[str]:
    """As every peer starts a real model here: small, on one thread."""
    words = [str(binary), "--model", str(file.resolve()), "--host", "127.0.0.1"]
    return [*words, "--port", "{port}", "-c", str(CONTEXT), "-t", str(THREADS)]


def edge_can_be_here() -> bool:
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") is not None


def built_llama_server() -> str | None:
    """The one that the tests have built, if they have."""
    told = subprocess.run([BUILT, "--check"], capture_output=True, text=True, check=False)
    if told.returncode != 0:
        return None
    return str(Path(told.stdout.strip().splitlines()[-1]) / "llama-server")
