"""The section `discovery`: models that nobody wrote down."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from orchestrator.config.scalars import STRICT, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """Which model files are models although nobody wrote them down."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    folders: tuple[Text, ...] = ()
    """Every GGUF under these is a model, named after its file; `serve DIR` adds to them."""
    hugging_face: bool = False
    """Those in the Hugging Face cache (HF_HOME) too."""
    ollama: bool = False
    """Those that Ollama has pulled (OLLAMA_MODELS) too."""
    service: Text | None = None
    """Runs them, and models that name no service; else the first service that runs GGUF files on
    this machine."""

    @property
    def on(self) -> bool:
        return bool(self.folders) or self.hugging_face or self.ollama
