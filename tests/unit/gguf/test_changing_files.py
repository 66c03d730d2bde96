"""A file that somebody writes, cuts short or replaces while its header is read."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.gguf import reader as module
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.reader import READS_MAX, read_header
from tests.unit.gguf.gguf_files import F32, write_model

TENSORS = [("a.weight", (256, 4), F32)]
# Of several chunks: what is changed after the first one is met by the others.
WORDS = {"tokenizer.ggml.tokens": ["a word of some length"] * 150_000}
Change = Callable[[Path], object]


def model(path: Path, architecture: str = "llama") -> Path:
    return write_model(path, {"general.architecture": architecture, **WORDS}, TENSORS, whole=True)


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
