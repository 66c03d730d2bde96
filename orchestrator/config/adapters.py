"""`lora` of a model: adapters, each with how much of it is applied."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Discriminator, Field, Tag

from orchestrator.config.scalars import STRICT, Text
from orchestrator.config.yaml_lines import Mistake

SCALE_MAX = 100.0  # one is as the adapter was trained; beyond a few nothing readable comes out
ADAPTERS_MAX = 64  # of one model

Scale = Annotated[float, Field(ge=-SCALE_MAX, le=SCALE_MAX, allow_inf_nan=False)]
Scales = Annotated[tuple[Scale, ...], Field(max_length=ADAPTERS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledAdapter:
    """One LoRA adapter of a model."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    file: Text
    """A GGUF, under the service's models_dir or in an allowed root."""
    scale: Scale = 1.0
    """How much of it is applied."""


def _file_or_scaled(said: object) -> str:
    return "scaled" if isinstance(said, dict | ScaledAdapter) else "file"


# A file alone is applied in full.
AdapterEntry = Annotated[
    Annotated[Text, Tag("file")] | Annotated[ScaledAdapter, Tag("scaled")],
    Discriminator(_file_or_scaled),
]
Adapters = Annotated[tuple[AdapterEntry, ...], Field(max_length=ADAPTERS_MAX)]


def file_of(entry: str | ScaledAdapter) -> str:
    return entry if isinstance(entry, str) else entry.file


def scale_of(entry: str | ScaledAdapter) -> float:
    return 1.0 if isinstance(entry, str) else entry.scale


def scales_of(entries: Iterable[str | ScaledAdapter]) -> tuple[float, ...]:
    return plain_scales(tuple(map(scale_of, entries)))


def plain_scales(scales: tuple[float, ...]) -> tuple[float, ...]:
    """Nothing where all are applied in full."""
    return () if all(scale == 1.0 for scale in scales) else scales


def adapter_mistakes(paths: Iterable[str | None]) -> Iterator[Mistake]:
    """llama-server's options of adapters are lists with commas, of files and scales with a colon:
    such a path would be another file.
    """
    for index, path in enumerate(paths):
        if path is not None and ("," in path or ":" in path):
            sentence = f"{path} has a comma or a colon in it, which llama-server would misread"
            yield Mistake(("lora", index), f"{sentence}: rename the file or its folder")
