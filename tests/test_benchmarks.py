"""What the benchmarks are made of, beside what they measure: pictures, peers, what is slower."""

import argparse
import ast
import importlib
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def of_bench(name: str) -> Any:
    """A module of the scripts, which import one another as programs of one folder."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "bench"))


def test_a_figure_is_slower_beyond_its_room_alone() -> None:
    quick = of_bench("quick")

    committed = json.loads((ROOT / "bench" / "quick.json").read_text())
    just_within, beyond = quick.Figures(), quick.Figures()
    for name, was in committed.items():
        assert quick.room(name, was) > was
        just_within.add(name, 0.99 * quick.room(name, was), 1.0)
        beyond.add(name, 1.01 * quick.room(name, was), 1.0)
    assert quick.slower(just_within, committed) == []
    assert quick.slower(beyond, committed) == list(committed)


def test_a_crowd_that_slows_some_rounds_makes_nothing_slower() -> None:
    quick = of_bench("quick")

    name, was = next(iter(json.loads((ROOT / "bench" / "quick.json").read_text()).items()))
    crowded = quick.Figures()
    for slowed in (30.0, 1.0, 8.0):
        crowded.add(name, was * slowed, 1.0)
    assert quick.slower(crowded, {name: was}) == []


def test_a_picture_shows_every_figure_and_any_name() -> None:
    charts = of_bench("charts")

    bars = [charts.Bar("ours & edge", 2.0, 1.0, 9.0), charts.Bar("<peer>", 0.0)]
    wide = charts.Chart("a > b", "ms", [charts.Bar("least", 0.01), charts.Bar("most", 1e4)])
    drawn = charts.svg([charts.Chart("one", "s", bars), wide])
    words = [each.text or "" for each in ET.fromstring(drawn).iter() if each.text]
    assert {"ours & edge", "<peer>", "one (s)", "a > b (ms, logarithmic)"} <= set(words)


def test_the_page_names_scripts_that_are_there() -> None:
    tell = "import page; print([table.words[0] for table in page.TABLES])"
    done = subprocess.run(
        [sys.executable, "-c", tell],
        cwd=ROOT / "bench",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scripts = ast.literal_eval(done.stdout)
    assert scripts
    assert [name for name in scripts if not (ROOT / "bench" / name).is_file()] == []


def binary(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text("#!/bin/sh\necho 'version: 1.2.3'\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def test_who_is_named_is_in_the_room_and_who_is_not_is_said_to_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = of_bench("peers")

    monkeypatch.setenv("PATH", str(tmp_path))
    parser = argparse.ArgumentParser()
    peers.add_options(parser)
    own = ["--llama-server", str(binary(tmp_path, "server"))]
    said = parser.parse_args([*own, "--llama-swap", str(binary(tmp_path, "swap"))])
    room = peers.in_the_room(said)
    assert [(peer.name, peer.version()) for peer in room.peers] == [
        ("llama-server's router", "version: 1.2.3"),
        ("llama-swap", "version: 1.2.3"),
    ]
    assert [sentence.split(" is not here")[0] for sentence in room.absent] == [
        "large-model-proxy",
        "Ollama",
    ]
    assert peers.words_of(said) == [*own, "--llama-swap", str(tmp_path / "swap")]


@pytest.mark.parametrize("name", ["LlamaSwap", "LargeModelProxy"])
def test_a_peer_starts_the_same_words_on_the_port_it_is_asked_at(tmp_path: Path, name: str) -> None:
    peers = of_bench("peers")

    peer: Any = getattr(peers, name)(tmp_path / "binary")
    peer.port, peer.server_ports = 1, {"a": 4001, "b": 4002}
    words = ["serve it", "--port", "{port}"]
    models = [peers.Model("a", words), peers.Model("b", words, ("stop", "b"))]
    peer.configure(tmp_path, models)
    told = next(file for file in tmp_path.iterdir() if file.name.startswith("config")).read_text()
    of_models = yaml.safe_load(told)
    if name == "LlamaSwap":
        entries = of_models["models"]
        assert [entries[each]["cmd"] for each in "ab"] == [
            "'serve it' --port 4001",
            "'serve it' --port 4002",
        ]
        assert entries["b"]["cmdStop"] == "stop b"
        return
    first, second = of_models["Services"]
    assert (first["Command"], first["Args"]) == ("serve it", "--port 4001")
    assert second["KillCommand"] == "stop b"
    need = first["ResourceRequirements"]["VRAM"] + second["ResourceRequirements"]["VRAM"]
    assert need > of_models["ResourcesAvailable"]["VRAM"], "they shall not share"
