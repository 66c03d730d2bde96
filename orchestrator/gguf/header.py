"""What a model file says about itself: its metadata, and the shape and place of its tensors.

A `Header` is a value; `reader.read_header` makes it from a file and has checked it. The tensor data
need not be there: `missing_bytes` tells whether it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.gguf.errors import GgufError

CHAT_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Stands for a value too long to be of interest here, such as a vocabulary."""

    length: int


Value = bool | int | float | str | tuple[bool | int | float, ...] | Skipped


@dataclass(frozen=True, slots=True)
class Tensor:
    """`dimensions` as ggml counts them: the length of a row comes first."""

    name: str
    dimensions: tuple[int, ...]
    type_id: int
    size_bytes: int

    @property
    def width(self) -> int:
        """How many numbers come out when this matrix is applied to a row."""
        return self.dimensions[1] if len(self.dimensions) > 1 else self.dimensions[0]


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a model; `whole_bytes` is how long it must be to hold its tensors."""

    path: Path
    size_bytes: int
    modified_ns: int
    whole_bytes: int

    @property
    def missing_bytes(self) -> int:
        return max(0, self.whole_bytes - self.size_bytes)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a model in one file, or in all the parts it was split into."""

    path: Path
    architecture: str
    metadata: Mapping[str, Value] = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)
    parts: tuple[Part, ...]

    @property
    def file_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def missing_bytes(self) -> int:
        return sum(part.missing_bytes for part in self.parts)

    def require_whole_file(self) -> None:
        """Raise `GgufError` when tensor data is missing: a download that ended early."""
        for part in self.parts:
            if part.missing_bytes:
                raise GgufError(
                    f"{part.path} is truncated: it has {part.size_bytes:,} of "
                    f"{part.whole_bytes:,} bytes. Fetch it again"
                )

    def integer(self, key: str, default: int | None = None) -> int:
        """The whole number at `key` of the architecture's own metadata.

        Without a default, an absent key is a `GgufError`; a value of another kind always is.
        """
        value = self._own(key)
        if value is None and default is not None:
            return default
        if isinstance(value, int):
            return int(value)
        raise self._unusable(key, "a whole number", value)

    def per_layer(self, key: str, layers: int, default: int | None = None) -> tuple[int, ...]:
        """The value of `key` per layer: files store one number for all layers, or one per layer."""
        value = self._own(key)
        if not isinstance(value, tuple):
            return (self.integer(key, default),) * layers
        if len(value) < layers or not all(isinstance(number, int) for number in value):
            raise self._unusable(key, f"{layers} whole numbers", value)
        return tuple(int(number) for number in value[:layers])

    def has(self, key: str) -> bool:
        return self._own(key) is not None

    def is_array(self, key: str) -> bool:
        return isinstance(self._own(key), tuple)

    def text(self, key: str, default: str = "") -> str:
        """The string at the full name `key`, or the default where it is absent or no string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else default

    def _own(self, key: str) -> Value | None:
        return self.metadata.get(f"{self.architecture}.{key}")

    def _unusable(self, key: str, wanted: str, value: Value | None) -> GgufError:
        found = "absent" if value is None else f"{value!r:.60}"
        return GgufError(f"{self.path}: {self.architecture}.{key} should be {wanted}, is {found}")
