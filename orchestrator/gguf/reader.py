"""Reads the header of a GGUF file: a few megabytes at the start of gigabytes.

Vocabularies, which make up nearly all of a header, are stepped over without making a string of any
word. A file is not to be trusted: every count and length in it is checked against the file's size
or a bound named here before anything is allocated for it or repeated because of it. Nor does it
stay as it is: it is read, never mapped, because a mapped file that somebody cuts short ends the
process that looks at it; and what changed while it was read is read again.
"""

import logging
import math
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.gguf.cursor import STRING_KEPT_BYTES_MAX, Cursor
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import CHAT_TEMPLATE, Header, Part, Tensor, Value
from orchestrator.gguf.quantization import BLOCK_TYPES

log = logging.getLogger("orchestrator")

# The largest real models have some hundred keys and, in many parts, some thousand tensors.
KEYS_MAX = 2048
TENSORS_MAX = 1 << 17
PARTS_MAX = 1024
DIMENSIONS_MAX = 4  # ggml's own limit
TEMPLATE_BYTES_MAX = 64 << 10  # the longest are of some 20 KB; they tell what a chat can carry
ALIGNMENT_MAX = 1 << 20
READS_MAX = 2  # of a file that changes meanwhile: whoever copies a model is not done any sooner
# ggml counts elements in a signed 64-bit integer.
ELEMENTS_MAX = (1 << 63) - 1

_MAGIC = int.from_bytes(b"GGUF", "little")
_VERSIONS = (2, 3)
_SWAPPED_VERSIONS = tuple(version << 24 for version in (1, 2, 3))
_ALIGNMENT = 32
_FIXED = struct.Struct("<IIQQ")
_RANK = struct.Struct("<I")
_DIMENSIONS = [struct.Struct(f"<{rank}Q") for rank in range(DIMENSIONS_MAX + 1)]
_TYPE_AND_OFFSET = struct.Struct("<IQ")
_PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def read_header(path: Path) -> Header:
    """The header of the model that `path` belongs to; any part of a split model names all of it.

    Raises `GgufError` when it is not a readable, complete and sane header.
    """
    first = _read_part(path)
    count = _part_count(first)
    if count == 1:
        return _header(path, (first,))
    paths = _part_paths(path, count)
    return _header(paths[0], tuple(_numbered_parts(paths)))


def header_suffices(path: Path, known_bytes: int) -> bool:
    """Whether so many first bytes of a file, of which the rest is not there, are its whole header.

    What follows them must be zeros: a header that seems to end there was cut.
    """
    try:
        return _read_part(path).header_bytes <= known_bytes
    except GgufError:
        return False


@dataclass(frozen=True, slots=True)
class _PartHeader:
    part: Part
    header_bytes: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]

    def integer(self, key: str, default: int) -> int:
        value = self.metadata.get(key, default)
        if not isinstance(value, int) or value < 0:
            raise GgufError(f"{self.part.path}: {key} should be a whole number, is {value!r:.60}")
        return int(value)


def _header(path: Path, parts: tuple[_PartHeader, ...]) -> Header:
    metadata = parts[0].metadata
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise GgufError(f"{path} does not name its general.architecture: it is no model")
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise GgufError(f"{path} describes a tensor twice")
    return Header(path, architecture, metadata, tensors, tuple(part.part for part in parts))


def _part_count(first: _PartHeader) -> int:
    count = first.integer("split.count", 1)
    if count > PARTS_MAX:
        raise GgufError(f"{first.part.path} claims to be one of {count} parts: {PARTS_MAX} at most")
    return max(count, 1)


def _part_paths(path: Path, count: int) -> list[Path]:
    named = _PART_NAME.fullmatch(path.name)
    if named is None or int(named["count"]) != count:
        raise GgufError(
            f"{path} is one of {count} parts, but its name does not end in "
            f"-0000N-of-{count:05}.gguf, so the others cannot be found: give it its name back"
        )
    stem = named["stem"]
    numbers = range(1, count + 1)
    return [path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in numbers]


def _numbered_parts(paths: list[Path]) -> Iterator[_PartHeader]:
    """The parts, provided that their headers say the number that their names promise."""
    for number, path in enumerate(paths):
        part = _read_part(path)
        if part.integer("split.count", 1) != len(paths) or part.integer("split.no", 0) != number:
            raise GgufError(f"{path} is not part {number + 1} of {len(paths)}: parts are mixed up")
        yield part


def _read_part(path: Path) -> _PartHeader:
    """The header of a file that stayed as it was while it was read."""
    for reading in range(READS_MAX):
        if reading:
            log.warning("%s changed while its header was read: it is read once more", path)
        try:
            part = _read_once(path)
        except OSError as error:
            raise GgufError(f"{path} cannot be read: {error.strerror or error}") from error
        if part is not None:
            return part
    raise GgufError(
        f"{path} changed whenever its header was read ({READS_MAX} times): wait until it is "
        "written, or put it there under another name and rename it"
    )


def _read_once(path: Path) -> _PartHeader | None:
    """None where the file was changed or replaced meanwhile, whatever was read of it."""
    with _opened(path) as descriptor:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise GgufError(f"{path} is not a file")

        def read(offset: int, count: int) -> bytes:
            return os.pread(descriptor, count, offset)

        try:
            part = _parse(before, Cursor(path, read, before.st_size))
        except GgufError:
            if _identity(path.stat()) == _identity(before):
                raise
            return None
        return part if _identity(path.stat()) == _identity(before) else None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Without waiting for the other end, should it be a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _parse(status: os.stat_result, cursor: Cursor) -> _PartHeader:
    if status.st_size < _FIXED.size:
        raise GgufError(f"{cursor.path} is not a GGUF file: it has only {status.st_size} bytes")
    tensor_count, key_count = _counts(cursor)
    metadata = _metadata(cursor, key_count)
    alignment = _alignment(cursor, metadata)
    places = [_place(cursor) for _ in range(tensor_count)]
    header_bytes = cursor.offset
    data_start = -(-header_bytes // alignment) * alignment
    sizes = _sizes(cursor, places, status.st_size - data_start)
    ends = (place.offset + size for place, size in zip(places, sizes, strict=True))
    part = Part(
        path=cursor.path,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        whole_bytes=data_start + max(ends) if places else header_bytes,
    )
    tensors = (
        Tensor(place.name, place.dimensions, place.type_id, size)
        for place, size in zip(places, sizes, strict=True)
    )
    return _PartHeader(part, header_bytes, metadata, tuple(tensors))


def _counts(cursor: Cursor) -> tuple[int, int]:
    magic, version, tensor_count, key_count = cursor.take(_FIXED)
    if magic != _MAGIC:
        start = magic.to_bytes(4, "little")
        raise GgufError(f"{cursor.path} is not a GGUF file: it starts with {start!r}")
    if version in _SWAPPED_VERSIONS:
        raise GgufError(f"{cursor.path} is written for a big-endian machine: convert it")
    if version not in _VERSIONS:
        raise GgufError(f"{cursor.path} has GGUF version {version}; 2 and 3 are known: convert it")
    if key_count > KEYS_MAX or tensor_count > TENSORS_MAX:
        raise cursor.damaged(f"claims {key_count} keys and {tensor_count} tensors")
    return tensor_count, key_count


def _metadata(cursor: Cursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = cursor.name()
        if key in metadata:
            raise cursor.damaged(f"has the key {key[:80]!r} twice")
        is_template = key == CHAT_TEMPLATE
        metadata[key] = cursor.value(TEMPLATE_BYTES_MAX if is_template else STRING_KEPT_BYTES_MAX)
    return metadata


def _alignment(cursor: Cursor, metadata: dict[str, Value]) -> int:
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if isinstance(alignment, int) and 0 < alignment <= ALIGNMENT_MAX:
        return alignment
    raise cursor.damaged(f"has the alignment {alignment!r:.60}")


class _Place(NamedTuple):
    name: str
    dimensions: tuple[int, ...]
    type_id: int
    offset: int


def _place(cursor: Cursor) -> _Place:
    name = cursor.name()
    (rank,) = cursor.take(_RANK)
    if not 0 < rank <= DIMENSIONS_MAX:
        raise cursor.damaged(f"has a tensor of {rank} dimensions")
    dimensions = cursor.take(_DIMENSIONS[rank])
    type_id, offset = cursor.take(_TYPE_AND_OFFSET)
    if math.prod(dimensions) > ELEMENTS_MAX or offset > ELEMENTS_MAX:
        raise cursor.damaged(f"has the impossible tensor {name[:80]!r} {dimensions}")
    return _Place(name, dimensions, type_id, offset)


def _sizes(cursor: Cursor, places: list[_Place], data_bytes: int) -> list[int]:
    """Bytes per tensor: from its type, or up to the next tensor where ggml has a newer type."""
    if all(place.type_id in BLOCK_TYPES for place in places):
        return [_known_size(place) for place in places]
    starts = sorted({place.offset for place in places})
    following = dict(zip(starts, [*starts[1:], data_bytes], strict=True))
    sizes = [
        _known_size(place)
        if place.type_id in BLOCK_TYPES
        else following[place.offset] - place.offset
        for place in places
    ]
    if min(sizes) < 0:
        raise GgufError(
            f"{cursor.path} holds a tensor of a type that is not known here, and not its data: "
            "its size cannot be told"
        )
    return sizes


def _known_size(place: _Place) -> int:
    row, *others = place.dimensions
    return BLOCK_TYPES[place.type_id].row_bytes(row) * math.prod(others)
