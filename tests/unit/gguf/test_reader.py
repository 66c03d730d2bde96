"""Reading headers that are right, damaged or hostile."""

import os
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.gguf import reader as module
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Header, Skipped
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.reader import (
    KEYS_MAX,
    READS_MAX,
    TEMPLATE_BYTES_MAX,
    TENSORS_MAX,
    header_suffices,
    read_header,
)
from tests.pace import crowd
from tests.unit.gguf.gguf_files import (
    ARRAY,
    F16,
    F32,
    Q4_K,
    STRING,
    Raw,
    header_bytes,
    text,
    write_model,
)
from tests.unit.gguf.shapes import FOOTPRINTS, NAMES

TINY = {"general.architecture": "llama", "llama.block_count": 1}
TWO = [("a.weight", (256, 4), Q4_K), ("b.weight", (8,), F32)]


@pytest.mark.parametrize("name", NAMES)
def test_reads_real_headers_without_their_data(name: str) -> None:
    header = read_header(FOOTPRINTS / f"{name}.gguf")
    assert header.integer("block_count") > 0
    assert header.missing_bytes == header.parts[0].whole_bytes - header.file_bytes > 0


def test_reads_metadata_tensors_and_sizes(tmp_path: Path) -> None:
    vocabulary = {"tokenizer.ggml.tokens": ["<s>", "a", ""], "general.name": "Tiny"}
    path = write_model(tmp_path / "m.gguf", TINY | vocabulary, TWO, whole=True)
    header = read_header(path)
    assert header.architecture == "llama"
    assert header.metadata["tokenizer.ggml.tokens"] == Skipped(3)
    assert header.text("general.name") == "Tiny"
    assert [(t.name, t.dimensions, t.size_bytes) for t in header.tensors] == [
        ("a.weight", (256, 4), 576),
        ("b.weight", (8,), 32),
    ]
    assert header.missing_bytes == 0


def test_a_chat_template_is_kept_and_other_long_texts_are_not(tmp_path: Path) -> None:
    long = "x" * 20_000
    texts = {"tokenizer.chat_template": long, "general.license": long}
    header = read_header(write_model(tmp_path / "m.gguf", TINY | texts))
    assert header.text("tokenizer.chat_template") == long
    assert header.metadata["general.license"] == Skipped(20_000)
    texts = {"tokenizer.chat_template": "x" * (TEMPLATE_BYTES_MAX + 1)}
    header = read_header(write_model(tmp_path / "m.gguf", TINY | texts))
    assert header.text("tokenizer.chat_template") == ""


def test_a_download_that_ended_early_is_told_before_the_start(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", TINY, TWO, whole=True)
    os.truncate(path, path.stat().st_size - 100)
    header = read_header(path)
    assert header.missing_bytes == 100
    with pytest.raises(GgufError, match="is truncated"):
        header.require_whole_file()


def test_a_tensor_type_that_is_newer_than_this_is_sized_by_its_neighbours(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", TINY, [*TWO, ("c.weight", (8, 8), F16)], whole=True)
    content = bytearray(path.read_bytes())
    for name, old in ((b"a.weight", Q4_K), (b"c.weight", F16)):
        at = content.index(name) + len(name) + 4 + 8 * 2
        assert struct.unpack_from("<I", content, at) == (old,)
        struct.pack_into("<I", content, at, 99)
    path.write_bytes(content)
    assert [tensor.size_bytes for tensor in read_header(path).tensors] == [576, 32, 128]


def test_an_unknown_type_at_the_end_of_a_bare_header_cannot_be_sized(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", TINY, [("a", (8,), F32)])
    content = path.read_bytes().replace(
        struct.pack("<QIQ", 8, F32, 0), struct.pack("<QIQ", 8, 99, 0)
    )
    path.write_bytes(content[: content.index(struct.pack("<QIQ", 8, 99, 0)) + 20])
    with pytest.raises(GgufError, match="its size cannot be told"):
        read_header(path)


class TestParts:
    """Models split into several files."""

    @staticmethod
    def write(folder: Path, count: int, **changes: int) -> list[Path]:
        paths = [folder / f"m-{i + 1:05}-of-{count:05}.gguf" for i in range(count)]
        for i, path in enumerate(paths):
            own = {"split.no": i, "split.count": count} | changes
            metadata = TINY | own if i == 0 else own
            write_model(path, metadata, [(f"t{i}", (32,), F32)], whole=True)
        return paths

    @pytest.mark.parametrize("given_part", [0, 2])
    def test_any_part_leads_to_the_whole_model(self, tmp_path: Path, given_part: int) -> None:
        paths = self.write(tmp_path, 3)
        header = read_header(paths[given_part])
        assert header.path == paths[0]
        assert [tensor.name for tensor in header.tensors] == ["t0", "t1", "t2"]
        assert [part.path for part in header.parts] == paths
        assert header.file_bytes == sum(path.stat().st_size for path in paths)

    def test_a_missing_part_is_named(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path, 3)
        paths[1].unlink()
        with pytest.raises(GgufError, match=r"00002-of-00003\.gguf cannot be read: No such file"):
            read_header(paths[0])

    def test_a_part_that_leads_back_to_the_first_is_refused(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path, 2)
        paths[1].unlink()
        paths[1].symlink_to(paths[0])
        with pytest.raises(GgufError, match="is not part 2 of 2"):
            read_header(paths[0])

    def test_a_part_that_leads_to_itself_is_refused(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path, 2)
        paths[1].unlink()
        paths[1].symlink_to(paths[1])
        with pytest.raises(GgufError, match="cannot be read"):
            read_header(paths[0])

    def test_a_renamed_part_asks_for_its_name_back(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, 2)[0].rename(tmp_path / "model.gguf")
        with pytest.raises(GgufError, match="give it its name back"):
            read_header(path)

    def test_a_claim_of_billions_of_parts_is_refused_at_once(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "m.gguf", TINY | {"split.count": 4_000_000_000})
        with pytest.raises(GgufError, match="one of 4000000000 parts"):
            read_header(path)

    def test_the_same_tensor_in_two_parts_is_refused(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path, 2)
        metadata = {"split.no": 1, "split.count": 2}
        write_model(paths[1], metadata, [("t0", (32,), F32)], whole=True)
        with pytest.raises(GgufError, match="describes a tensor twice"):
            read_header(paths[0])


def fixed(version: int = 3, tensors: int = 0, keys: int = 0, magic: bytes = b"GGUF") -> bytes:
    return struct.pack("<4sIQQ", magic, version, tensors, keys)


def tensor_record(rank: int = 1, length: int = 8, kind: int = F32, offset: int = 0) -> bytes:
    return text("t") + struct.pack("<IQIQ", rank, length, kind, offset)


HOSTILE = {
    "empty": (b"", "only 0 bytes"),
    "text": (b"This is a model card, not a model.\n", "starts with b'This'"),
    "wrong magic": (fixed(magic=b"GGML"), "starts with b'GGML'"),
    "big-endian": (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "big-endian"),
    "version 1": (fixed(version=1), "GGUF version 1"),
    "version 99": (fixed(version=99), "GGUF version 99"),
    "2^63 keys": (fixed(keys=1 << 63), "claims 9223372036854775808 keys"),
    "one key too many": (fixed(keys=KEYS_MAX + 1), f"claims {KEYS_MAX + 1} keys"),
    "2^63 tensors": (fixed(tensors=1 << 63), "and 9223372036854775808 tensors"),
    "one tensor too many": (fixed(tensors=TENSORS_MAX + 1), f"and {TENSORS_MAX + 1} tensors"),
    "keys that are not there": (fixed(keys=3), "more bytes are promised"),
    "tensors that are not there": (fixed(tensors=3), "more bytes are promised"),
    "no architecture": (header_bytes({"general.name": "x"}), "does not name its"),
    "architecture of a number": (header_bytes({"general.architecture": 3}), "does not name its"),
    "key twice": (
        fixed(keys=2) + 2 * (text("k") + struct.pack("<IB", 0, 1)),
        "the key 'k' twice",
    ),
    "alignment 0": (header_bytes({"general.alignment": 0}), "alignment 0"),
    "alignment of text": (header_bytes({"general.alignment": "x"}), "alignment 'x'"),
    "alignment 2^31": (header_bytes({"general.alignment": 1 << 31}), "alignment 2147483648"),
    "rank 0": (fixed(tensors=1) + tensor_record(rank=0), "0 dimensions"),
    "rank 2^31": (fixed(tensors=1) + tensor_record(rank=1 << 31), "2147483648 dimensions"),
    "2^64 elements": (fixed(tensors=1) + tensor_record(length=(1 << 64) - 1), "impossible tensor"),
    "offset 2^64": (fixed(tensors=1) + tensor_record(offset=(1 << 64) - 1), "impossible tensor"),
    "split count of text": (header_bytes(TINY | {"split.count": "x"}), "split.count should be"),
    "endless strings": (
        header_bytes(TINY | {"v": Raw(struct.pack("<IIQ", ARRAY, STRING, 1 << 62))}),
        "in all are allowed",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_with_a_sentence(tmp_path: Path, case: str) -> None:
    content, complaint = HOSTILE[case]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufError, match=complaint) as refused:
        read_header(path)
    assert str(path) in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.gguf"
    os.mkfifo(fifo)
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    for path in (tmp_path, fifo):
        with pytest.raises(GgufError, match="is not a file"):
            read_header(path)
    for path in (loop, tmp_path / "absent.gguf"):
        with pytest.raises(GgufError, match="cannot be read"):
            read_header(path)


def test_a_huge_hole_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    """Zeros are empty strings: terabytes of them must not be walked through."""
    path = tmp_path / "hole.gguf"
    path.write_bytes(fixed(keys=KEYS_MAX) + text("v") + struct.pack("<IIQ", ARRAY, STRING, 1 << 40))
    os.truncate(path, 1 << 40)
    started_s = perf_counter()
    with pytest.raises(GgufError, match="in all are allowed"):
        read_header(path)
    assert perf_counter() - started_s < 1 * crowd()


REAL = (FOOTPRINTS / "g270.gguf").read_bytes()


def outcome(path: Path) -> Header | None:
    """Either a header or the one error that is allowed; anything else fails the test."""
    try:
        return read_header(path)
    except GgufError:
        return None


fuzzing = settings(
    max_examples=300,
    deadline=2000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzzing
@given(cut=st.integers(0, len(REAL)))
def test_no_truncation_crashes_it(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(REAL[:cut])
    outcome(path)


# The length of the longest run of damaged bytes is that of the largest number.
damages = st.lists(
    st.tuples(st.integers(0, len(REAL) - 9), st.binary(min_size=1, max_size=8)), max_size=6
)


@fuzzing
@given(damage=damages)
def test_no_mutation_crashes_it_or_fills_the_memory(
    tmp_path: Path, damage: list[tuple[int, bytes]]
) -> None:
    content = bytearray(REAL)
    for at, replacement in damage:
        content[at : at + len(replacement)] = replacement
    path = tmp_path / "mutated.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        outcome(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@fuzzing
@given(content=st.binary(max_size=200))
def test_no_bytes_behind_the_magic_crash_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 3) + content)
    outcome(path)


def test_a_beginning_is_the_whole_header_or_it_is_not(tmp_path: Path) -> None:
    """Cut anywhere and filled up with zeros, as a file whose end has not been fetched."""
    metadata = {"general.architecture": "llama", "tokenizer.ggml.tokens": ["word"] * 50}
    tensors = [("a.weight", (256, 4), F32), ("b.weight", (256, 4), F32)]
    path = write_model(tmp_path / "m.gguf", metadata, tensors, whole=True)
    content = path.read_bytes()
    end = content.index(b"b.weight") + len(b"b.weight") + 4 + 2 * 8 + 4 + 8
    # Behind its end everything is a tensor's: a few cuts tell as much as thousands.
    for known in (*range(end + 9), *range(end + 9, len(content), 997)):
        path.write_bytes(content[:known] + bytes(len(content) - known))
        assert header_suffices(path, known) == (known >= end), known


# --- files that are written, cut short or replaced while their header is read --------------------

TENSOR = [("a.weight", (256, 4), F32)]
# Of several chunks: what is changed after the first one is met by the others.
WORDS = {"tokenizer.ggml.tokens": ["a word of some length"] * 150_000}
Change = Callable[[Path], object]


def model(path: Path, architecture: str = "llama") -> Path:
    return write_model(path, {"general.architecture": architecture, **WORDS}, TENSOR, whole=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return model(tmp_path / "m.gguf")


@pytest.fixture
def between_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the file changed after the first chunk of its first `times` readings."""

    def arrange(change: Callable[[], object], times: int = 1) -> None:
        left = [times]

        def pread(descriptor: int, count: int, offset: int, own=os.pread) -> bytes:  # type: ignore[no-untyped-def]
            content: bytes = own(descriptor, count, offset)
            if offset == 0 and left[0]:
                left[0] -= 1
                change()
            return content

        monkeypatch.setattr(module.os, "pread", pread)

    return arrange


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replaced(path: Path) -> None:
    model(path.with_suffix(".new"), "gemma3").rename(path)


def overwritten(path: Path) -> None:
    content = model(path.with_suffix(".new"), "gemma3").read_bytes()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    os.utime(path, ns=(7, path.stat().st_mtime_ns + 10**7))  # finer than clocks of file systems are


def test_truncated_while_read_is_said(
    path: Path, between_reads: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """What is there at the second reading is judged: half a file."""
    between_reads(lambda: cut(path))
    with pytest.raises(GgufError, match=r"ends in a list of strings .* it is damaged"):
        read_header(path)
    assert f"{path} changed while its header was read: it is read once more" in caplog.text


@pytest.mark.parametrize("change", [replaced, overwritten])
def test_replaced_while_read_is_read_once_more(
    path: Path, between_reads: Callable[..., None], change: Change
) -> None:
    between_reads(lambda: change(path))
    assert read_header(path).architecture == "gemma3"


def test_a_file_that_changes_at_every_reading_is_refused_with_a_way_out(
    path: Path, between_reads: Callable[..., None]
) -> None:
    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    between_reads(grow, times=READS_MAX)
    with pytest.raises(GgufError, match=r"changed whenever its header was read .* rename it"):
        read_header(path)
    assert read_header(path).architecture == "llama"


def test_removed_while_read_is_an_error_of_the_file(
    path: Path, between_reads: Callable[..., None]
) -> None:
    between_reads(path.unlink)
    with pytest.raises(GgufError, match="cannot be read: No such file"):
        read_header(path)


def test_a_disk_that_fails_in_the_middle_is_an_error_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pread(descriptor: int, count: int, offset: int, own=os.pread) -> bytes:  # type: ignore[no-untyped-def]
        if offset:
            raise OSError(5, "Input/output error")
        content: bytes = own(descriptor, count, offset)
        return content

    monkeypatch.setattr(module.os, "pread", pread)
    with pytest.raises(GgufError, match="cannot be read: Input/output error"):
        read_header(path)


def test_headers_of_a_file_that_changed_meanwhile_are_not_kept(
    path: Path, between_reads: Callable[..., None]
) -> None:
    headers = Headers()
    between_reads(lambda: replaced(path))
    assert headers.of(path).architecture == headers.remembered(path).architecture == "gemma3"


HAMMER = """
import os, sys, threading, time
from pathlib import Path
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.reader import read_header

path = Path(sys.argv[1])
content = path.read_bytes()
ends_s = time.monotonic() + 1.0

def write():
    while time.monotonic() < ends_s:
        with path.open("wb") as file:
            file.write(content)
        os.truncate(path, 100)

writer = threading.Thread(target=write)
writer.start()
reads = 0
while writer.is_alive() or not reads:
    try:
        read_header(path)
    except GgufError:
        pass
    reads += 1
path.write_bytes(content)
print(reads, read_header(path).architecture)
"""


def test_a_process_outlives_a_file_that_is_cut_and_written_all_the_time(path: Path) -> None:
    """A mapped file would end it with SIGBUS, in a few tries."""
    ended = subprocess.run(
        [sys.executable, "-c", HAMMER, str(path)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.split()[1:]) == (0, ["llama"]), ended.stderr
