import sys
from importlib.metadata import version as version_of

import pytest

from orchestrator.cli.main import main


def test_the_version_is_said_by_a_word_and_by_an_option(capsys):
    assert main(["version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"orchestrator {version_of('vram-orchestrator')} (Python ")
    assert sys.version.split()[0] in said
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == said
