import os
import signal
import subprocess

import pytest

from orchestrator.errors import RegistryFailed
from orchestrator.registry.lock import StateLock
from tests.unit.registry.children import start

HOLDER = """
import subprocess, sys
from pathlib import Path
from orchestrator.registry.lock import StateLock
lock = StateLock.take(Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_the_second_taker_is_told_who_holds_it(tmp_path):
    held = StateLock.take(tmp_path / "lock")
    with pytest.raises(RegistryFailed, match=rf"process {os.getpid()}\).*state_dir of its own"):
        StateLock.take(tmp_path / "lock")
    held.release()


def test_a_released_lock_can_be_taken_again(tmp_path):
    for _ in range(3):
        lock = StateLock.take(tmp_path / "lock")
        lock.release()
        lock.release()


def test_kill_9_gives_it_back_although_what_the_holder_started_lives_on(tmp_path):
    with start(HOLDER, tmp_path / "lock") as holder:
        outliving = int(holder.stdout.readline())
        try:
            with pytest.raises(RegistryFailed, match=f"process {holder.pid}"):
                StateLock.take(tmp_path / "lock")
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            os.kill(outliving, 0)
            StateLock.take(tmp_path / "lock").release()
        finally:
            os.kill(outliving, signal.SIGKILL)


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(tmp_path):
    (tmp_path / "lock").write_text("999999999999\n")
    lock = StateLock.take(tmp_path / "lock")
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_place_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(RegistryFailed, match="must be writable"):
        StateLock.take(tmp_path / "lock")


def test_it_works_without_a_number_in_the_file(tmp_path):
    full = "import resource, sys; from pathlib import Path\n"
    full += "from orchestrator.registry.lock import StateLock\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    full += "StateLock.take(Path(sys.argv[1])).release()"
    with start(full, tmp_path / "lock") as child:
        child.communicate()
    assert child.returncode == 0
    assert subprocess.run(["cat", tmp_path / "lock"], capture_output=True, check=True).stdout == b""
