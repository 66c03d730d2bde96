"""What was typed, and what was meant."""

import pytest

from orchestrator.cli.main import FOR_DAEMON, WITHOUT_DAEMON, main
from orchestrator.cli.words import CALLED_ELSEWHERE, WordParser, did_you_mean


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("stauts", "status"), ("lod", "load"), ("ls", "list"), ("rm", "remove"), ("x\x1by", None)],
)
def test_a_word_that_is_none_is_answered_with_the_nearest(capsys, typed, meant):
    with pytest.raises(SystemExit) as ended:
        main([typed])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert ("did you mean" in said) is (meant is not None)
    assert meant is None or f"did you mean {meant}?" in said


def test_a_value_that_is_none_is_answered_likewise(capsys):
    parser = WordParser(prog="p")
    parser.add_argument("--profile", choices=("fast", "quality"))
    with pytest.raises(SystemExit):
        parser.parse_args(["--profile", "qualty"])
    assert "did you mean quality?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args(["--what"])
    assert "unrecognized arguments" in capsys.readouterr().err
    assert did_you_mean("zzz", ["fast"]) == ""


def test_what_it_is_called_elsewhere_leads_to_words_that_there_are():
    words = {word.name for word in (*WITHOUT_DAEMON, *FOR_DAEMON)}
    assert set(CALLED_ELSEWHERE.values()) <= words
    assert words.isdisjoint(CALLED_ELSEWHERE)
