"""llama-server's own router, of one model at a time: it starts its own binary and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from peers.program import Model, Program

CONTEXT, THREADS = 2048, 1  # of a model here, whoever starts its server


class LlamaRouter(Program):
    name: ClassVar[str] = "llama-server's router"
    program: ClassVar[str] = "llama-server"
    own_server: ClassVar[bool] = True
    looks_at: ClassVar[str] = "/health"

    def configure(self, folder: Path, models: Sequence[Model]) -> Sequence[str]:
        for model in models:
            assert model.file is not None
            (folder / f"{model.name}.gguf").symlink_to(model.file.resolve())
        words = ["--models-dir", str(folder), "--models-max", "1"]
        words += ["--host", "127.0.0.1", "--port", str(self.port)]
        return [*words, "-c", str(CONTEXT), "-t", str(THREADS)]

    def server_port(self, name: str) -> int:
        """As its server was told by it."""
        for server in self.servers():
            for each in server.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN:
                    return int(each.laddr.port)
        raise LookupError(f"no server of {name} listens")
