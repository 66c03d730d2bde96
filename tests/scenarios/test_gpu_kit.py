"""The kit for the minutes on a real card: it works here, so that it is not broken on that day."""

import importlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.gguf.reader import read_header

KIT = Path(__file__).parents[2] / "bench" / "gpu"
REHEARSAL_S_MAX = 900.0  # a hang is not waited for; how long it may take is said by tests/pace.py


@pytest.mark.compiler
@pytest.mark.llama_cpp
@pytest.mark.real_model
def test_every_step_of_the_kit_can_be_rehearsed(tmp_path: Path) -> None:
    done = rehearse(tmp_path)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    page = json.loads((tmp_path / "page.json").read_text())
    steps = {outcome["step"] for outcome in page["outcomes"]}
    assert steps == {figure["step"] for figure in page["figures"]}
    assert len(steps) == 13
    values = {(figure["step"], figure["name"]): figure["value"] for figure in page["figures"]}
    assert "took no VRAM" in values["fallback", "status: problem"]
    assert values["adoption", "the same processes"] is True
    assert values["swaps", "refused or failed"] == 0
    first, *_ = (tmp_path / "page.md").read_text().splitlines()
    assert first.startswith("**No card has been seen yet**")
    before = (tmp_path / "figures.jsonl").read_text()
    assert rehearse(tmp_path).returncode == 0
    assert (tmp_path / "figures.jsonl").read_text() == before, "what is done is not done again"


def rehearse(out: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [KIT / "run", "--rehearse", "--out", out],
        env={**os.environ, "PYTHON": sys.executable},  # noqa: TID251 - as from a shell
        capture_output=True,
        text=True,
        check=False,
        timeout=REHEARSAL_S_MAX,
    )


def test_the_page_in_the_repository_is_made_of_its_figures() -> None:
    done = subprocess.run([sys.executable, KIT / "page.py", "--check"], check=False)
    assert done.returncode == 0, "run bench/gpu/page.py"


def test_a_run_that_was_cut_short_goes_on_from_its_last_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(KIT)
    kit = importlib.import_module("figures")
    figures = kit.Figures(tmp_path / "figures.jsonl", rehearsed=False)
    for attempt in ("first", "second"):
        figures.begin("swaps")
        figures.add("swaps", attempt, 1.5, "s")
    figures.ended(kit.Outcome("swaps", 2.0))
    figures.begin("loading")
    figures.ended(kit.Outcome("loading", 1.0, "it failed"))
    kit.Figures(figures.path, rehearsed=True).add("machine", "name", "Stand-in")
    with figures.path.open("a") as file:
        file.write('{"kind": "figure", "step": "con')
    measured, outcomes = figures.read()
    assert [figure.name for figure in measured] == ["second"]
    assert [outcome.step for outcome in outcomes] == ["swaps", "loading"]
    assert figures.done() == {"swaps"}


def test_a_head_gets_the_vocabulary_that_it_lacks_and_is_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(KIT)
    models = importlib.import_module("models")
    source = KIT.parents[1] / "tests" / "data" / "footprints" / "g270.gguf"
    head = models.read_head(source)
    words = b"".join(struct.pack("<Q", 1) + b"w" for _ in range(2))
    donor = models.Head(
        keys={"tokenizer.ggml.tokens": struct.pack("<IIQ", 9, 8, 2) + words},
        tensors=b"",
        tensor_count=0,
        data_bytes=0,
        vocabulary=2,
    )
    made = models.write_model(models.grafted(head, donor), tmp_path / "made.gguf")
    again = models.read_head(made)
    assert again.vocabulary == head.vocabulary == 262144
    kind, inner, count = struct.unpack_from("<IIQ", again.keys["tokenizer.ggml.tokens"])
    assert (kind, inner, count) == (9, 8, 262144)
    assert read_header(made).parts[0].whole_bytes == made.stat().st_size
    assert made.stat().st_blocks * 512 < made.stat().st_size / 10, "its weights lie on no disk"
