import io
from pathlib import Path

import pytest

from orchestrator.hub.progress import Phase, Progress
from orchestrator.hub.terminal import _Told, main, pull_and_tell
from tests.unit.hub.pulls import BYTES, REPO, Pulls


def environ(operator: Pulls, **more: str) -> dict[str, str]:
    return {"HF_HOME": str(operator.home), "HF_ENDPOINT": operator.hub.url, **more}


def test_the_path_is_all_that_goes_to_standard_output(
    operator: Pulls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([REPO], environ(operator)) == 0
    said = capsys.readouterr()
    assert Path(said.out.removesuffix("\n")).read_bytes() == BYTES
    assert "downloading" in said.err


def test_a_token_in_the_environment_is_used_and_not_told(
    operator: Pulls, capsys: pytest.CaptureFixture[str]
) -> None:
    operator.hub.behaviour.token = "hf_secret"
    assert pull_and_tell(REPO, environ(operator)) == 1
    assert pull_and_tell(REPO, environ(operator, HF_TOKEN="hf_secret\n")) == 0
    said = capsys.readouterr()
    assert "hf_secret" not in said.out + said.err


def test_if_missing_asks_nobody_when_it_is_here(operator: Pulls) -> None:
    assert main(["--if-missing", REPO], environ(operator)) == 0
    operator.hub.asked.clear()
    assert main(["--if-missing", REPO], environ(operator)) == 0
    assert operator.hub.asked == []


def test_failures_say_what_to_do_and_usage_has_its_own_code(
    operator: Pulls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["org/None"], environ(operator)) == 1
    assert "Check the spelling" in capsys.readouterr().err
    assert main(["nonsense"], environ(operator)) == 2
    assert "ORG/REPO" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(done: int, phase: Phase = Phase.DOWNLOADING, detail: str = "") -> Progress:
    return Progress(
        phase=phase, file="a.gguf", done_bytes=done << 20, total_bytes=1000 << 20, detail=detail
    )


def test_a_log_gets_few_lines() -> None:
    log = io.StringIO()
    told = _Told(log)
    for done in range(1001):
        told.report(progress(done))
    told.finish()
    lines = log.getvalue().splitlines()
    assert len(lines) == 21
    assert lines[1] == "downloading a.gguf: 5 %, 50 of 1000 MiB"


def test_a_terminal_gets_one_line_that_changes() -> None:
    screen = Terminal()
    told = _Told(screen)
    told.report(progress(10))
    told.report(progress(20, Phase.PAUSED, "The connection broke."))
    told.finish()
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().count("\r\033[K") == 2
    assert "(The connection broke.)" in screen.getvalue()
