import json

import pytest

from orchestrator.access.audit.chain import CURRENT
from orchestrator.access.audit.files import AuditFile, Dated
from orchestrator.access.audit.lines import Act
from orchestrator.access.caller import THE_DAEMON
from orchestrator.cli.main import main


@pytest.fixture
def words(tmp_path):
    """What is typed, for a log of five lines."""
    (tmp_path / "o.yaml").write_text("state_dir: .\n")
    file = AuditFile(tmp_path, bytes_max=1 << 20, files_max=2)
    heads = file.write(
        [Dated("now", Act(action="a", caller=THE_DAEMON, target="mm"))] * 5, sync=True
    )
    return ["audit", "verify", "--config", str(tmp_path / "o.yaml")], heads, tmp_path / CURRENT


def test_an_unbroken_log_is_said_to_be(words, capsys):
    typed, heads, _ = words
    assert main([*typed, "--head", str(heads[2])]) == 0
    said = capsys.readouterr().out
    assert "Unbroken: lines 1 to 5" in said
    assert f"Head {heads[4]}" in said
    assert main([*typed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == str(heads[4])


def test_the_first_broken_line_is_named(words, capsys):
    typed, _, path = words
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*rows[:2], rows[2].replace("mm", "xx"), *rows[3:]]))
    assert main(typed) == 1
    assert f"{path}, line 4: line 3 before it was changed" in capsys.readouterr().err
    assert main([*typed, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["line"] == 4


def test_a_log_that_was_cut_does_not_have_the_head_that_was_noted(words, capsys):
    typed, heads, path = words
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert main(typed) == 0
    assert main([*typed, "--head", f"5:{heads[4].digest[:12]}"]) == 1
    assert "line 5 was noted" in capsys.readouterr().err


def test_wrong_words(words, capsys, tmp_path):
    typed, _, path = words
    assert main([*typed, "--head", "5"]) == 2
    assert "SEQ:HASH" in capsys.readouterr().err
    path.unlink()
    assert main(typed) == 1
    assert "There is no audit log" in capsys.readouterr().err
    assert main(["audit", "verify", "--config", str(tmp_path / "none.yaml")]) == 2
