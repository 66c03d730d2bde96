import subprocess

import pytest

from orchestrator.cli.completion import SHELLS, flags_of, script
from orchestrator.cli.main import main, parser


def test_every_word_and_its_flags_are_known():
    flags = flags_of(parser())
    assert "--watch" in flags["status"]
    assert {"load", "mcp", "completion"} <= flags.keys()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_its_own(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "status" in capsys.readouterr().out


def test_bash_completes_words_and_flags():
    def completed(*words):
        listed = " ".join(f"'{word}'" for word in words)
        asked = f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _orchestrator"
        text = (
            f"{script('bash', flags_of(parser()))}\n{asked}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        done = subprocess.run(
            ["bash", "-c", text], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.split()

    assert completed("orchestrator", "stat") == ["status"]
    assert completed("orchestrator", "status", "--wa") == ["--watch"]
