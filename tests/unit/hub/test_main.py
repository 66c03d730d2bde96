import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.unit.hub.pulls import BYTES, REPO, Pulls

ROOT = Path(__file__).parents[3]


def start(operator: Pulls) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.hub", REPO],
        cwd=ROOT,
        env={
            "PATH": os.getenv("PATH", ""),
            "HF_HOME": str(operator.home),
            "HF_ENDPOINT": operator.hub.url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_is_a_command(operator: Pulls) -> None:
    with start(operator) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert Path(out.strip()).read_bytes() == BYTES


def test_an_interrupted_command_keeps_what_arrived(operator: Pulls) -> None:
    operator.hub.behaviour.stall_after = 100_000
    with start(operator) as process:
        assert operator.hub.stalled.wait(30)
        assert process.stderr is not None
        while "downloading" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run it again" in err
    assert all(name.endswith(".incomplete") for name in operator.blobs())


def test_a_killed_command_leaves_nothing_that_a_later_one_stumbles_over(operator: Pulls) -> None:
    operator.hub.behaviour.stall_after = 100_000
    with start(operator) as process:
        assert operator.hub.stalled.wait(30)
        process.kill()
        process.communicate(timeout=30)
    operator.hub.go_on.set()
    assert operator.pull().read_bytes() == BYTES
