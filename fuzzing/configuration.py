"""An operator's file: loaded, or refused in lines that each name the file and a line of it."""

import re
from pathlib import Path

from fuzzing.mutations import Target
from fuzzing.scratch import scratch
from orchestrator.config.loading import DEFAULT_CONFIG, EXAMPLE_CONFIG, load_config
from orchestrator.config.yaml_lines import read_yaml
from orchestrator.errors import ConfigInvalid

ENVIRONMENT = {"HOME": "/home/op", "MODELS_DIR": "/models", "EMPTY": ""}
WHOLE_WAY = 8  # one in so many of the files with mistakes of YAML goes on, as it does in the daemon


def check(content: bytes) -> None:
    """What is no YAML of ours is told so in a millisecond; the rest takes the whole way."""
    written = read_yaml(content)
    assert all(each.sentence for each in written.mistakes)
    if written.mistakes and len(content) % WHOLE_WAY:
        return
    path = scratch() / "fuzz.yaml"
    path.write_bytes(content)
    try:
        config = load_config(path, environ=ENVIRONMENT)
    except ConfigInvalid as refused:
        _check_mistakes(path, refused.mistakes)
        return
    assert config.state_dir.is_absolute()
    assert set(config.catalogue) == set(config.models)
    assert all(spec.service in config.services for spec in config.catalogue.values())


def _check_mistakes(path: Path, mistakes: tuple[str, ...]) -> None:
    assert mistakes, "refused without a word"
    placed = re.compile(re.escape(str(path)) + r":[1-9][0-9]*: .", re.DOTALL)
    for mistake in mistakes:
        assert placed.match(mistake), mistake


SMALL = b"""
server: {port: 8000, allowed_hosts: [a.lan]}
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  rehearsal: &own {engine: fake, runtime: process}
  files: {engine: llama_cpp, runtime: process, models_dir: "${MODELS_DIR:-./models}"}
models:
  chat: {service: rehearsal, vram_mb: 6000, aliases: [talk], fake: {load_s: 2.5}}
  draw: {service: files, file: draw.gguf, vram_mb: 100, ttl_seconds: 60, degrade: [ubatch]}
"""
TARGET = Target(
    check,
    seeds=(
        b"",
        SMALL,
        EXAMPLE_CONFIG.read_bytes(),
        DEFAULT_CONFIG.read_bytes(),
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b, *c]\n",
        b"server: !!python/object {port: 1}\n<<: {x: 1}\n? [a]\n: b\n",
    ),
    words=(
        b"*own",
        b"&own ",
        b"<<: ",
        b"!!str ",
        b"${MODELS_DIR}",
        b"${EMPTY:-x}",
        b"${",
        b"null",
        b"true",
        b".nan",
        b"-.inf",
        b"1e999",
        b"0x10",
        b"\n---\n",
        b"\n  ",
        b"\t",
        b'"\\ud800"',
        b"package:yaml/x.gguf",
        b"org/repo:Q4_K_M",
        b"auto_download: true",
        b"container: a",
        b"\xef\xbb\xbf",
    ),
)
