import io
import json

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.simulating import POLICIES
from orchestrator.replay.policies import PolicyName
from tests.unit.replay.histories import turns


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(turns())
    return str(path)


def figures(capsys, *words):
    assert main(["simulate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_with_a_trace_alone_it_says_whether_a_second_device_would_help(trace, capsys):
    assert main(["simulate", trace]) == 0
    said = capsys.readouterr().out
    assert "6 requests for 2 models in 5 min 1 s, on Card (24 GB)." in said
    assert "with 24 GB more: loads 6 → 2 (-67%)" in said


def test_budgets_and_policies_are_columns(trace, capsys):
    told = figures(
        capsys, trace, "--vram", "48GB", "--add-gpu", "8GB", "--policy", "lru", "--policy", "regret"
    )
    assert [one["title"] for one in told["scenarios"]] == [
        *("48 GB, lru", "48 GB, regret"),
        *("with 8 GB more, lru", "with 8 GB more, regret"),
    ]
    assert told["replayed"]["loads"] == 6
    assert [one["loads"] for one in told["scenarios"]] == [2, 2, 6, 6]


def test_a_policy_alone_is_tried_on_what_there_was(trace, capsys):
    [only] = figures(capsys, trace, "--policy", "one-at-a-time")["scenarios"]
    assert (only["title"], only["policy"]) == ("one-at-a-time", "one-at-a-time")
    assert only["devices"] == [{"id": "g0", "kind": "gpu", "total_mb": 24576}]


def test_a_trace_may_come_by_a_pipe(trace, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(turns(4)))
    assert figures(capsys, "-")["requests"] == 4


def test_a_bad_line_is_named_with_its_file(tmp_path, capsys):
    path = tmp_path / "history.jsonl"
    path.write_text(turns().replace('"total_seconds"', '"seconds"', 1))
    assert main(["simulate", str(path)]) == 1
    said = capsys.readouterr().err
    assert said == f"{path}, line 4: `total_seconds` is not a number: null.\n"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path, capsys, content):
    path = tmp_path / "history.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert main(["simulate", str(path)]) == 1
    assert f"{path} cannot be read:" in capsys.readouterr().err


def test_a_size_that_is_none_is_a_misuse(trace, capsys):
    assert main(["simulate", trace, "--vram", "lots"]) == 2
    assert "'lots' is no size such as 48GB" in capsys.readouterr().err


def test_the_policies_are_those_that_there_are():
    assert set(POLICIES) == {*PolicyName}
