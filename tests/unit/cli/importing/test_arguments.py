"""What `import` and `init` are told."""

import pytest

from orchestrator.cli.main import main, parser


def test_import_asks_from_what(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["import"])
    assert ended.value.code == 2
    assert "llama-swap|ollama" in capsys.readouterr().err


def test_a_folder_of_ollama_may_be_left_out():
    assert parser().parse_args(["import", "ollama"]).folder is None
