import os

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.vram import DeviceId
from orchestrator.errors import StartFailed
from orchestrator.runtimes.process.spawn import child_environment, spawn
from tests.unit.runtimes.processes import program, zombies

GPUS = (DeviceId("GPU-1"), DeviceId("MIG-2"))


def environment(**changes):
    return child_environment(program("x", **changes), 1, {"PATH": "/bin", "SECRET": "s"}, "me")


def test_only_listed_variables_are_inherited():
    assert environment()["PATH"] == "/bin"
    assert "SECRET" not in environment()


def test_a_server_sees_the_gpus_it_was_placed_on():
    assert environment(devices=GPUS)["CUDA_VISIBLE_DEVICES"] == "GPU-1,MIG-2"


def test_a_server_placed_on_the_host_sees_no_gpu():
    assert environment(devices=(DeviceId("host"),))["CUDA_VISIBLE_DEVICES"] == ""


def test_the_launch_may_say_otherwise_but_not_who_it_is():
    own = {"CUDA_VISIBLE_DEVICES": "0", "VRAM_ORCHESTRATOR_IDENTITY": "somebody"}
    given = environment(devices=GPUS, env=own)
    assert given["CUDA_VISIBLE_DEVICES"] == "0"
    assert given["VRAM_ORCHESTRATOR_IDENTITY"] == "me"


def test_the_tokens_are_filled_in_wherever_they_stand(tmp_path):
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    launch = program("/bin/echo", "--url=http://{host}:{port}", "{port}")
    try:
        _, pid_handle = spawn(launch, 8123, log=log, env={})
    finally:
        os.close(log)
    os.waitpid(pid_handle.pid, 0)
    pid_handle.close()
    assert (tmp_path / "log").read_text() == "--url=http://127.0.0.1:8123 8123\n"


def test_without_a_descriptor_to_hold_it_by_the_child_does_not_stay(tmp_path):
    """The last descriptor goes to the log: the start fails, wherever it runs out."""
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    reasons = []
    for spare in range(12):
        hoard = []
        try:
            while True:
                hoard.append(os.dup(0))
        except OSError:
            for descriptor in hoard[:spare]:
                os.close(descriptor)
        try:
            _, pid_handle = spawn(program("/bin/true"), 1, log=log, env={})
        except StartFailed as error:
            reasons.append(error.failure.reason)
        else:
            os.waitpid(pid_handle.pid, 0)
            pid_handle.close()
        finally:
            for descriptor in hoard[spare:]:
                os.close(descriptor)
    os.close(log)
    assert FailureReason.RUNTIME_UNAVAILABLE in reasons
    assert zombies() == []
