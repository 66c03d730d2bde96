"""The shortest way to say what a sweep saw, and what a header says."""

from pathlib import Path

from orchestrator.catalogue.found.seen import FileSeen, ModelPlace, PlaceKind
from orchestrator.catalogue.found.sets import FileSet
from orchestrator.gguf.header import Header, Part, Tensor, Value

HOME = ModelPlace(PlaceKind.FOLDER, Path("/m"))
S = 10**9


def seen(name: str, *, size: int = 10, at_s: int = 0, place: ModelPlace = HOME) -> FileSeen:
    path = place.path / name
    return FileSeen(
        path=path,
        place=place,
        size_bytes=size,
        modified_ns=at_s * S,
        identity=(1, hash(path)),
    )


def header(
    architecture: str = "llama", *tensors: tuple[str, tuple[int, ...]], **told: Value
) -> Header:
    """A whole file of one tensor, unless others are named."""
    metadata: dict[str, Value] = {
        f"{architecture}.block_count": 1,
        f"{architecture}.embedding_length": 64,
        f"{architecture}.attention.head_count": 4,
        **{key.replace("__", "."): value for key, value in told.items()},
    }
    path = Path("/m/any.gguf")
    return Header(
        path=path,
        architecture=architecture,
        metadata=metadata,
        tensors=tuple(
            Tensor(name, dimensions, 0, 4)
            for name, dimensions in tensors or (("token_embd.weight", (64, 100)),)
        ),
        parts=(Part(path, 10, 0, 10),),
    )


def model(name: str, of: Header | None = None, **more: str) -> FileSet:
    return FileSet(files=(seen(name),), header=of or header(), **more)


def projector(name: str, width: int = 64, **told: Value) -> FileSet:
    made = header("clip", ("mm.0.weight", (128, width)), **told)
    return FileSet(files=(seen(name),), header=made)
