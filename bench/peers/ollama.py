"""Ollama: a model is made of the same file, one of them is loaded at a time."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from peers.llama_router import CONTEXT, THREADS
from peers.program import Model, Program, subprocess_environment

CREATE_S_MAX = 60.0


class Ollama(Program):
    name: ClassVar[str] = "Ollama"
    program: ClassVar[str] = "ollama"
    own_server: ClassVar[bool] = True
    looks_at: ClassVar[str] = "/api/version"

    def configure(self, folder: Path, models: Sequence[Model]) -> Sequence[str]:
        for model in models:
            assert model.file is not None
            (folder / f"{model.name}.Modelfile").write_text(
                f"FROM {model.file.resolve()}\n"
                f"PARAMETER num_ctx {CONTEXT}\nPARAMETER num_thread {THREADS}\n"
            )
        self._made_in = folder
        return ["serve"]

    def variables(self, folder: Path) -> Mapping[str, str]:
        return {
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(folder / "models"),
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_KEEP_ALIVE": "-1",
            "HOME": str(folder),
        }

    def prepare(self, models: Sequence[Model]) -> None:
        environment = subprocess_environment() | self.variables(self._made_in)
        for model in models:
            subprocess.run(
                [self.binary, "create", model.name, "-f", f"{model.name}.Modelfile"],
                cwd=self._made_in,
                env=environment,
                check=True,
                capture_output=True,
                timeout=CREATE_S_MAX,
            )
