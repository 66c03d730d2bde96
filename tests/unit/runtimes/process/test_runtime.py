import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from orchestrator.core.values.failures import FailureReason
from orchestrator.errors import NotStopped, StartFailed, Unreachable
from orchestrator.ports import PORT_TOKEN, Handle
from orchestrator.runtimes.process.logs import LOG_BYTES_MAX
from orchestrator.runtimes.process.runtime import ENDED_KEPT_MAX, ProcessRuntime
from orchestrator.runtimes.process.table import read_process
from tests.asynchronous import eventually, run
from tests.pace import crowd
from tests.unit.runtimes.processes import (
    GRACE_S,
    PATH,
    descriptors,
    opened,
    program,
    runs,
    shell,
    zombies,
)

FOR_EVER = shell("exec sleep 1000")
# Starts one server and says so; what follows decides how this daemon ends.
DAEMON = """
import asyncio, os, signal, sys
from pathlib import Path
from orchestrator.runtimes.process.runtime import ProcessRuntime
from tests.unit.runtimes.processes import PATH, shell

async def main():
    runtime = ProcessRuntime(Path(sys.argv[1]), sys.argv[2], {"PATH": PATH})
    running = await runtime.start(shell(sys.argv[3]))
    print(running.handle.fields["pid"], flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""
# Killed by its own hand in the moment after the fork, before it knows the child's pid.
KILLED_IN_START = (
    """
import os, signal, subprocess, sys
from orchestrator.runtimes.process import spawn as process_spawn

def dies(*args, **named):
    subprocess.Popen.__init__(*args, **named)
    os.kill(os.getpid(), signal.SIGKILL)

process_spawn._Child.__init__ = dies
"""
    + DAEMON
)


LISTENER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(1000)
"""


def daemon(script: str, state_dir: Path, identity: str, server: str) -> subprocess.Popen[str]:
    """A daemon of its own process group, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-c", script, state_dir, identity, server],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
        process_group=0,
    )


async def written(runtime, handle, lines=1):
    async def enough():
        return len(await runtime.log_tail(handle, lines)) == lines

    await eventually(enough)
    return await runtime.log_tail(handle, lines)


@contextmanager
def no_descriptors_left():
    hoard = []
    try:
        with suppress(OSError):
            while True:
                hoard.append(os.dup(0))
        yield
    finally:
        for descriptor in hoard:
            os.close(descriptor)


def pid_of(handle):
    return handle.fields["pid"]


# --- surviving ourselves ---------------------------------------------------------------------


def test_a_server_outlives_a_killed_daemon_and_is_adopted_and_stopped(tmp_path):
    with daemon(DAEMON, tmp_path, "killed", "echo up; exec sleep 1000") as first:
        pid = int(first.stdout.readline())
        first.kill()
        first.wait()

    async def scenario():
        async with opened(tmp_path, "killed") as runtime:
            (found,) = await runtime.discover()
            handle = found.running.handle
            assert (found.instance, found.model, pid_of(handle)) == ("a-1", "a", pid)
            assert await runtime.alive(handle)
            assert await written(runtime, handle) == ("up",)
            waiting = asyncio.create_task(runtime.wait(handle))
            await runtime.stop(handle, grace_s=GRACE_S)
            assert (await waiting).code is None  # it was never our child
            assert not runs(pid)

    run(scenario())


def test_a_daemon_killed_before_it_knew_the_pid_loses_nothing(tmp_path):
    with daemon(KILLED_IN_START, tmp_path, "early", "exec sleep 1000") as first:
        assert first.wait() == -signal.SIGKILL

    async def scenario():
        async with opened(tmp_path, "early") as runtime:
            (found,) = await runtime.discover()
            assert await runtime.alive(found.running.handle)
            await runtime.stop(found.running.handle, grace_s=GRACE_S)
            assert await runtime.discover() == []

    run(scenario())


def test_ctrl_c_in_the_daemons_terminal_does_not_reach_the_server(tmp_path):
    with daemon(DAEMON, tmp_path, "interrupted", "exec sleep 1000") as first:
        pid = int(first.stdout.readline())
        os.killpg(first.pid, signal.SIGINT)
        assert first.wait() != 0
        assert runs(pid)

    async def scenario():
        async with opened(tmp_path, "interrupted") as runtime:
            assert len(await runtime.discover()) == 1

    run(scenario())
    assert not runs(pid)


def test_the_death_of_an_adopted_server_is_noticed_at_once(tmp_path):
    with daemon(DAEMON, tmp_path, "adopted", "exec sleep 1000") as first:
        pid = int(first.stdout.readline())
        first.kill()
        first.wait()

    async def scenario():
        async with opened(tmp_path, "adopted") as runtime:
            (found,) = await runtime.discover()
            waiting = asyncio.create_task(runtime.wait(found.running.handle))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(1):
                assert (await waiting).code is None

    run(scenario())


def test_leaving_lets_the_server_run_and_complains_of_nothing(tmp_path):
    async def first():
        runtime = ProcessRuntime(tmp_path, "left", {"PATH": PATH})
        running = await runtime.start(FOR_EVER)
        await runtime.close()
        return running.handle

    handle = run(first())
    assert runs(pid_of(handle))

    async def second():
        async with opened(tmp_path, "left") as runtime:
            await runtime.stop(handle, grace_s=GRACE_S)

    run(second())
    assert not runs(pid_of(handle))


# --- what a server gets ----------------------------------------------------------------------


def test_the_environment_is_scrubbed(tmp_path):
    async def scenario():
        secrets = {"LLAMA_ARG_CTX_SIZE": "1", "OPENAI_API_KEY": "k", "CUDA_VISIBLE_DEVICES": "7"}
        async with opened(tmp_path, "scrubs", HOME="/home/x", **secrets) as runtime:
            launch = shell("env; sleep 1000", env={"EXTRA": "1"})
            running = await runtime.start(launch)
            environ = Path(f"/proc/{pid_of(running.handle)}/environ").read_text()
            given = dict(entry.split("=", 1) for entry in environ.split("\0") if entry)
            assert given == {
                "PATH": PATH,
                "HOME": "/home/x",
                "EXTRA": "1",
                "VRAM_ORCHESTRATOR_INSTANCE": "a-1",
                "VRAM_ORCHESTRATOR_MODEL": "a",
                "VRAM_ORCHESTRATOR_IDENTITY": "scrubs",
                "VRAM_ORCHESTRATOR_PORT": str(running.handle.fields["port"]),
            }

    run(scenario())


def test_a_server_answers_on_the_port_it_was_given(tmp_path):
    server = "import http.server as h,sys; h.test(h.SimpleHTTPRequestHandler,port=int(sys.argv[1]),bind=sys.argv[2])"

    async def scenario():
        async with opened(tmp_path) as runtime:
            running = await runtime.start(program(sys.executable, "-c", server, "{port}", "{host}"))
            port = running.handle.fields["port"]
            assert running.endpoint.url == f"http://127.0.0.1:{port}"

            async def listens():
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    return False
                writer.close()
                await writer.wait_closed()
                return True

            await eventually(listens)

    run(scenario())


def test_servers_started_together_get_ports_of_their_own(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            launches = [shell("exec sleep 1000", instance=f"a-{i}") for i in range(12)]
            started = await asyncio.gather(*map(runtime.start, launches))
            assert len({each.endpoint for each in started}) == 12

    run(scenario())


def test_a_server_has_nothing_of_ours_open_and_leads_its_session(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            leak = os.open("/dev/null", os.O_RDONLY)
            os.set_inheritable(leak, True)
            try:
                handle = (await runtime.start(shell("echo up; sleep 1000; true"))).handle
            finally:
                os.close(leak)
            await written(runtime, handle)
            pid = pid_of(handle)
            files = sorted(fd.readlink() for fd in Path(f"/proc/{pid}/fd").iterdir())
            log = tmp_path / "logs" / "a@a-1.log"
            assert files == [Path("/dev/null"), log, log]
            seen = read_process(pid)
            assert (seen.session, seen.group) == (pid, pid)

    run(scenario())


# --- starts that fail ------------------------------------------------------------------------


def fails(tmp_path, launch):
    async def scenario():
        async with opened(tmp_path) as runtime:
            with pytest.raises(StartFailed) as caught:
                await runtime.start(launch)
            assert await runtime.discover() == []
            return caught.value.failure

    failure = run(scenario())
    assert failure.remedy
    return failure.reason


def test_a_missing_program_is_named_so(tmp_path):
    assert fails(tmp_path, program("no-such-program")) is FailureReason.BINARY_MISSING


def test_a_file_that_is_no_program_is_named_so(tmp_path):
    text = tmp_path / "text"
    text.write_text("hello")
    assert fails(tmp_path, program(str(text))) is FailureReason.BINARY_MISSING
    text.chmod(0o755)
    assert fails(tmp_path, program(str(text))) is FailureReason.BINARY_MISSING


@pytest.mark.parametrize("argv", [(), ("sleep", "a\0b"), ("sleep", "x" * 200_000)])
def test_impossible_arguments_are_named_so(tmp_path, argv):
    assert fails(tmp_path, program(*argv)) is FailureReason.ARGUMENTS


def test_a_log_that_cannot_be_written_is_named_so(tmp_path):
    (tmp_path / "logs").write_text("a file where the directory should be")
    assert fails(tmp_path, FOR_EVER) is FailureReason.RUNTIME_UNAVAILABLE


def test_a_start_cancelled_while_the_program_is_slow_to_start_leaves_nothing(tmp_path):
    """Cancelled twice, too: the second time while the first is being undone."""

    async def scenario():
        async with opened(tmp_path) as runtime:
            for round_ in range(10):
                starting = asyncio.create_task(runtime.start(FOR_EVER))
                await asyncio.sleep(0.0005 * round_)
                starting.cancel()
                await asyncio.sleep(0)
                starting.cancel()
                (outcome,) = await asyncio.gather(starting, return_exceptions=True)
                if not isinstance(outcome, asyncio.CancelledError):  # it was quicker than we
                    await runtime.stop(outcome.handle, grace_s=0)
                assert await runtime.discover() == []
            assert zombies() == []

    run(scenario())


# --- stopping --------------------------------------------------------------------------------


def test_a_stop_takes_the_children_too(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            stubborn = (
                "trap '' TERM; sleep 1000 & echo $!; setsid sleep 1000 & echo $!;"
                "env -i setsid sleep 1000 & echo $!; wait"
            )
            handle = (await runtime.start(shell(stubborn))).handle
            children = {int(line) for line in await written(runtime, handle, 3)}
            runtime._table_s = float("-inf")  # as if a second had passed
            assert await runtime.pids(handle) == {pid_of(handle), *children}
            await runtime.stop(handle, grace_s=0.1)
            assert not any(map(runs, children))
            assert zombies() == []

    run(scenario())


def test_what_a_dead_server_leaves_behind_is_ended(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(shell("setsid sleep 1000 & echo $!; exit 3"))).handle
            exit_ = await runtime.wait(handle)
            assert exit_.code == 3
            assert not runs(int(exit_.log_tail[0]))

    run(scenario())


def test_a_server_that_went_into_the_background_is_found_and_ended(tmp_path):
    """Its first process is gone before anybody waits; the marks are still there."""

    async def scenario():
        async with opened(tmp_path) as runtime:
            running = await runtime.start(
                shell("(setsid sleep 1000 & echo $!; sleep 1000 & echo $!); exit 0")
            )
            handle = running.handle
            left = [int(line) for line in await written(runtime, handle, 2)]
            await eventually(lambda: not runs(pid_of(handle)))
            (found,) = await runtime.discover()
            assert pid_of(found.running.handle) == left[0]
            await runtime.stop(found.running.handle, grace_s=GRACE_S)
            assert not any(map(runs, left))
            await runtime.stop(handle, grace_s=GRACE_S)

    run(scenario())


def test_a_stopped_server_is_stopped_all_the_same(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(FOR_EVER)).handle
            os.kill(pid_of(handle), signal.SIGSTOP)
            await runtime.stop(handle, grace_s=0.1)
            assert not runs(pid_of(handle))

    run(scenario())


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(tmp_path):
    async def scenario():
        bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        try:
            async with opened(tmp_path) as runtime:
                handle = (await runtime.start(FOR_EVER)).handle
                before = read_process(bystander.pid).started - 1
                stale = replace(
                    handle,
                    fields={
                        **handle.fields,
                        "instance": "earlier",
                        "pid": bystander.pid,
                        "started": before,
                    },
                )
                assert not await runtime.alive(stale)
                assert await runtime.pids(stale) == frozenset()
                assert (await runtime.wait(stale)).code is None
                await runtime.stop(stale, grace_s=0)
                assert runs(bystander.pid)
        finally:
            bystander.kill()
            bystander.wait()

    run(scenario())


def test_a_handle_from_before_a_reboot_names_nobody(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(FOR_EVER)).handle
            old = replace(handle, fields={**handle.fields, "boot": "another"})
            fresh = ProcessRuntime(tmp_path, "fresh", {})
            assert not await fresh.alive(old)
            assert (await fresh.wait(old)).code is None
            await fresh.stop(old, grace_s=0)
            assert await runtime.alive(handle)

    run(scenario())


def test_a_stop_that_cannot_look_is_not_a_stop(tmp_path):
    """Out of file descriptors: nothing can be verified, so nothing is claimed."""

    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(FOR_EVER)).handle
            await asyncio.to_thread(lambda: None)  # its thread exists before the shortage
            with no_descriptors_left(), pytest.raises(NotStopped):
                await runtime.stop(handle, grace_s=0)
            assert await runtime.alive(handle)

    run(scenario())


@pytest.mark.parametrize("fields", [{}, {"pid": "x"}])
def test_a_handle_that_makes_no_sense_is_refused(tmp_path, fields):
    async def scenario():
        runtime = ProcessRuntime(tmp_path, "x", {})
        with pytest.raises(Unreachable):
            await runtime.alive(Handle(runtime="process", version=1, fields=fields))
        with pytest.raises(Unreachable):
            await runtime.alive(Handle(runtime="docker", version=1, fields=fields))

    run(scenario())


# --- ends ------------------------------------------------------------------------------------


def test_a_death_is_noticed_within_a_moment(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(FOR_EVER)).handle
            waiting = asyncio.create_task(runtime.wait(handle))
            await asyncio.sleep(0)
            killed_s = time.monotonic()
            os.kill(pid_of(handle), signal.SIGKILL)
            exit_ = await waiting
            assert exit_.code == -signal.SIGKILL
            assert not exit_.out_of_memory
            assert time.monotonic() - killed_s < 1.0 * crowd()

    run(scenario())


def test_a_dead_server_is_no_zombie_even_if_nobody_asks(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(shell("exit 0"))).handle
            await eventually(lambda: read_process(pid_of(handle)) is None)

    run(scenario())


def test_many_lives_leak_no_descriptor_and_no_zombie(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            await runtime.stop((await runtime.start(FOR_EVER)).handle, grace_s=GRACE_S)
            before = descriptors()
            for number in range(2 * ENDED_KEPT_MAX):
                handle = (await runtime.start(shell("exec sleep 1000", f"a-{number}"))).handle
                waiting = asyncio.create_task(runtime.wait(handle))
                if number % 2:
                    await runtime.stop(handle, grace_s=GRACE_S)
                else:
                    os.kill(pid_of(handle), signal.SIGKILL)
                await waiting
            assert descriptors() == before
            assert zombies() == []
            assert len(runtime._watches) <= ENDED_KEPT_MAX + 1

    run(scenario())


def test_it_works_on_the_loop_that_the_daemon_uses(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(shell("trap 'exit 7' TERM; sleep 1000 & wait"))).handle
            waiting = asyncio.create_task(runtime.wait(handle))
            await asyncio.sleep(0.1)
            await runtime.stop(handle, grace_s=GRACE_S)
            assert (await waiting).code in (7, -signal.SIGTERM)
            assert zombies() == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def test_large_logs_are_cut_while_they_are_written(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            chatty = "yes 'a line of the server that says nothing new'"
            handle = (await runtime.start(shell(chatty))).handle
            log = Path(handle.fields["log"])
            await eventually(lambda: log.stat().st_size > LOG_BYTES_MAX)
            before = await runtime.log_size(handle)
            assert await runtime.trim_logs() == 1
            assert await runtime.log_size(handle) >= before
            assert await runtime.alive(handle)
            cut = log.stat().st_size

            async def still_writes():
                return log.stat().st_size > cut

            await eventually(still_writes)
            assert len(await runtime.log_tail(handle, 3)) == 3
            await runtime.stop(handle, grace_s=0)

    run(scenario())


@pytest.mark.parametrize("child", [False, True], ids=["itself", "a child of its own"])
def test_a_server_is_told_from_what_took_its_port(tmp_path, child):
    argv = (sys.executable, "-c", LISTENER)
    started = ("/bin/sh", "-c", '"$@"; exit 3', "sh", *argv) if child else argv

    async def scene():
        async with opened(tmp_path) as runtime:
            ours = await runtime.start(program(*started, PORT_TOKEN))
            await written(runtime, ours.handle)
            assert await runtime.listens(ours.handle)
            port = ours.endpoint.url.rpartition(":")[2]
            other = await runtime.start(program(*argv, port, instance="a-2"))
            assert not await runtime.listens(other.handle)

    run(scene())
