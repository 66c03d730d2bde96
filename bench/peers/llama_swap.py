"""llama-swap: its default, one model at a time."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from peers.program import Model, Program

REQUESTS_MAX = 1000  # its default of ten for a model would refuse most of what is measured


class LlamaSwap(Program):
    name: ClassVar[str] = "llama-swap"
    program: ClassVar[str] = "llama-swap"
    version_words: ClassVar[Sequence[str]] = ("-version",)

    def configure(self, folder: Path, models: Sequence[Model]) -> Sequence[str]:
        settings = {"models": {model.name: self._entry(model) for model in models}}
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(settings))
        return ["-config", str(file), "-listen", f"127.0.0.1:{self.port}"]

    def _entry(self, model: Model) -> dict[str, Any]:
        port = self.server_ports[model.name]
        words = [word.replace("{port}", str(port)) for word in model.words]
        entry = {
            "cmd": shlex.join(words or ["sleep", "infinity"]),
            "proxy": f"http://127.0.0.1:{port}",
            "concurrencyLimit": REQUESTS_MAX,
        }
        return entry | ({"cmdStop": shlex.join(model.stop_words)} if model.stop_words else {})
