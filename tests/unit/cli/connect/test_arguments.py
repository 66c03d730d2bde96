import argparse

import pytest

from orchestrator.cli.connect.arguments import arguments, run


def test_without_a_client_all_are_listed(capsys):
    parser = argparse.ArgumentParser()
    arguments(parser)
    words = parser.parse_args([])
    assert (words.client, words.write, words.file, words.model) == (None, False, None, None)
    assert run(words) == 0
    assert "claude-code" in capsys.readouterr().out


def test_one_client_at_a_time():
    parser = argparse.ArgumentParser()
    arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["codex", "cline"])
