"""large-model-proxy: models that take all of one resource, so that one at a time has it."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from peers.program import Model, Program

RESOURCE = "VRAM"
LOOK_MS = 25  # at a server that starts; it starts curl for it


class LargeModelProxy(Program):
    name: ClassVar[str] = "large-model-proxy"
    program: ClassVar[str] = "large-model-proxy"

    def version(self) -> str:
        return "which does not tell its version"

    def configure(self, folder: Path, models: Sequence[Model]) -> Sequence[str]:
        settings = {
            "OpenAiApi": {"ListenPort": str(self.port)},
            "ShutDownAfterInactivitySeconds": 3600,
            "ResourcesAvailable": {RESOURCE: 1},
            "Services": [self._service(model) for model in models],
        }
        file = folder / "config.json"
        file.write_text(json.dumps(settings))
        return ["-c", str(file)]

    def _service(self, model: Model) -> dict[str, Any]:
        port = self.server_ports[model.name]
        program, *words = [word.replace("{port}", str(port)) for word in model.words] or [
            "sleep",
            "infinity",
        ]
        service = {
            "Name": model.name,
            "OpenAiApi": True,
            "ProxyTargetHost": "127.0.0.1",
            "ProxyTargetPort": str(port),
            "Command": program,
            "Args": shlex.join(words),
            "HealthcheckCommand": f"curl --silent --fail http://127.0.0.1:{port}/health",
            "HealthcheckIntervalMilliseconds": LOOK_MS,
            "ResourceRequirements": {RESOURCE: 1},
        }
        return service | ({"KillCommand": shlex.join(model.stop_words)} if model.stop_words else {})
