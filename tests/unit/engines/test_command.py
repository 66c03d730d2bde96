"""Programs that the operator names: launched word by word."""

import asyncio

import pytest

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.specs import Program
from orchestrator.engines.command import CommandLauncher, classify_program
from orchestrator.ports import HOST_TOKEN, PORT_TOKEN, Exit
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of


def running(*argv, env=()):
    return spec_of("whisper", program=Program(argv=argv, env=env))


def checked(spec, **keys):
    return asyncio.run(CommandLauncher("/usr/bin:/bin", **keys).check(spec))


def test_the_command_is_launched_as_it_is_written():
    spec = running(
        "sh", "${MODEL}.bin", "--at=${HOST}:${PORT}", env=(("URL", "http://${HOST}:${PORT}"),)
    )
    launch = CommandLauncher("/bin").launch(INSTANCE, spec, ON_HOST)
    assert launch.argv == ("sh", "whisper.bin", f"--at={HOST_TOKEN}:{PORT_TOKEN}")
    assert launch.env == {"URL": f"http://{HOST_TOKEN}:{PORT_TOKEN}"}
    assert (launch.image, launch.devices) == (None, ON_HOST.devices)


def test_in_an_image_docker_is_asked_what_lacks():
    gone = Failure(reason=FailureReason.IMAGE_MISSING, detail="no such image")

    async def lacking(spec):
        return gone

    spec = running("serve", "${PORT}")
    assert checked(spec, image="whisper:1", lacking=lacking) == gone
    launch = CommandLauncher("", image="whisper:1", lacking=lacking).launch(INSTANCE, spec, ON_HOST)
    assert launch.image == "whisper:1"


def test_a_program_that_is_there_is_fine(tmp_path):
    program = tmp_path / "bin" / "mine"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert checked(running("sh", "${PORT}")) is None
    assert checked(running(str(program), "${PORT}")) is None
    assert checked(running("mine", env=(("PATH", str(program.parent)),))) is None


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "{file}"])
def test_one_that_is_not_is_named_before_anybody_leaves_for_it(program, tmp_path):
    (tmp_path / "file").write_text("text")
    failure = checked(running(program.format(file=tmp_path / "file"), "${PORT}"))
    assert failure.reason is FailureReason.BINARY_MISSING
    assert program.format(file=tmp_path / "file") in failure.detail


def test_why_it_ended_comes_with_a_remedy_for_a_command():
    memory = classify_program(
        Exit(code=1, log_tail=("torch.OutOfMemoryError: CUDA out of memory",))
    )
    assert (memory.reason, "vram_mb" in memory.remedy) == (FailureReason.OUT_OF_MEMORY, True)
    usage = classify_program(Exit(code=2, log_tail=("run.py: error: unrecognized arguments: --x",)))
    assert (usage.reason, "command" in usage.remedy) == (FailureReason.ARGUMENTS, True)
    limit = classify_program(Exit(code=137, out_of_memory=True), memory_mb=512)
    assert "memory_mb" in limit.remedy
    taken = classify_program(Exit(code=1, log_tail=("bind: address already in use",)))
    assert taken.reason is FailureReason.PORT
