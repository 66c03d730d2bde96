"""What only the Docker runtime does, on a real engine: on its bare socket and through the guard.

What every runtime does is in test_runtimes.py.
"""

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.core.values.vram import DeviceId
from orchestrator.errors import NotStopped, StartFailed
from orchestrator.ports import Handle, Launch
from orchestrator.runtimes.docker.create import ContainerSettings, models_dir
from orchestrator.runtimes.docker.events import POLL_S_DEAF, POLL_S_LISTENING
from orchestrator.runtimes.docker.runtime import DockerRuntime
from tests.contracts import docker_parts as parts
from tests.pace import crowd

pytestmark = pytest.mark.docker

IDENTITY = parts.GUARD_IDENTITY
LABEL = "vram-orchestrator.identity"
NAMED = f"docker-test-named-{parts.RUN}"
INSTANCE = f"sleeper-{parts.RUN}"
ANOTHER = f"another-{parts.RUN}"
NETWORK = f"docker-test-shared-{parts.RUN}"
TESTED = {"docker-test": parts.RUN}
GPU = DeviceId("GPU-1b9c2f7e-5a0d-4c1e-9f3a-0d6f2e7b8c11")
MODELS = Path(f"/tmp/vram-docker-test-models-{parts.RUN}")


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.APIClient]:
    url = parts.need_engine()
    parts.import_image(url)
    MODELS.mkdir(exist_ok=True)
    with closing(docker.APIClient(base_url=url, version="auto")) as client:
        yield client
    MODELS.rmdir()


@pytest.fixture(scope="module", params=["bare", pytest.param("guard", marks=pytest.mark.nginx)])
def url(request: pytest.FixtureRequest, engine: docker.APIClient) -> Iterator[str]:
    bare = parts.need_engine()
    if request.param == "bare":
        yield bare
    else:
        with parts.guard(bare, GUARD_MODELS=str(MODELS), GUARD_CONTAINERS=NAMED) as guarded:
            yield guarded


@pytest.fixture(autouse=True)
def nothing_left(engine: docker.APIClient) -> Iterator[None]:
    yield
    for label in (f"{LABEL}={IDENTITY}", f"{LABEL}={ANOTHER}", f"docker-test={parts.RUN}"):
        parts.remove_all(parts.need_engine(), label)


SETTINGS = ContainerSettings(identity=IDENTITY, version="0.1.0", models=(models_dir(MODELS),))


@asynccontextmanager
async def runtime(
    url: str, settings: ContainerSettings = SETTINGS, named: Sequence[str] = (NAMED,)
) -> AsyncIterator[DockerRuntime]:
    opened = DockerRuntime(url, settings, doors=parts.doors(), named=dict.fromkeys(named))
    try:
        yield opened
    finally:
        await opened.close()


def launch(*argv: str, instance: str = INSTANCE, **changes: Any) -> Launch:
    plain = Launch(
        instance=InstanceId(instance),
        model=ModelName("sleeper"),
        service=ServiceName("standin"),
        argv=("/sleeper", *argv),
        image=parts.IMAGE,
    )
    return replace(plain, **changes)


def on(url: str, play: Callable[[DockerRuntime], Awaitable[None]], **changes: Any) -> None:
    async def scene() -> None:
        async with runtime(url, replace(SETTINGS, **changes)) as opened:
            await play(opened)

    asyncio.run(scene())


def container_of(handle: Handle) -> str:
    return str(handle.fields["container"])


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.02)


def make_named(engine: docker.APIClient, *command: str, name: str = NAMED) -> str:
    """A container as compose would define it: without a label of ours."""
    made = engine.create_container(parts.IMAGE, ["/sleeper", *command], name=name, labels=TESTED)
    return str(made["Id"])


# --- what a container of ours is ----------------------------------------------------------------


def test_a_server_is_published_on_loopback_alone(url: str, engine: docker.APIClient) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch("--serve", "{port}"))

        async def answers() -> bool:
            with suppress(OSError):
                return await asyncio.to_thread(fetch, running.endpoint.url) == b'{"status":"ok"}'
            return False

        await until(answers)
        bindings = engine.inspect_container(container_of(running.handle))["NetworkSettings"][
            "Ports"
        ]
        assert [each["HostIp"] for each in bindings["8080/tcp"]] == ["127.0.0.1"]

    on(url, play)


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=2) as answer:
        return bytes(answer.read())


def test_on_a_shared_network_nothing_is_published(engine: docker.APIClient) -> None:
    engine.create_network(NETWORK)
    try:

        async def play(docker_runtime: DockerRuntime) -> None:
            running = await docker_runtime.start(launch("--serve", "{port}"))
            seen = engine.inspect_container(container_of(running.handle))
            assert running.endpoint.url == f"http://vram-{INSTANCE}:8080"
            assert list(seen["NetworkSettings"]["Networks"]) == [NETWORK]
            assert not any(seen["NetworkSettings"]["Ports"].values())
            await docker_runtime.stop(running.handle, grace_s=1)

        on(parts.need_engine(), play, network=NETWORK)
    finally:
        engine.remove_network(NETWORK)


@pytest.mark.parametrize("shared", [False, True])
def test_a_direct_service_is_reached_from_elsewhere(engine: docker.APIClient, shared: bool) -> None:
    """By an address of this machine that what is published on 127.0.0.1 alone does not answer at."""
    network = NETWORK if shared else None
    if network is not None:
        engine.create_network(network)
    try:

        async def play(docker_runtime: DockerRuntime) -> None:
            running = await docker_runtime.start(launch("--serve", "{port}"))
            told = running.endpoint.named
            assert told.startswith("http://127.0.0.2:")
            assert running.endpoint.url.startswith(
                "http://127.0.0.1:" if network is None else f"http://vram-{INSTANCE}:8080"
            )

            async def answers() -> bool:
                with suppress(OSError):
                    return await asyncio.to_thread(fetch, told) == b'{"status":"ok"}'
                return False

            await until(answers)
            (found,) = await docker_runtime.discover()
            assert found.running.endpoint == running.endpoint
            await docker_runtime.stop(running.handle, grace_s=1)

        on(parts.need_engine(), play, network=network, direct="127.0.0.2")
    finally:
        if network is not None:
            engine.remove_network(network)


def test_gpus_are_requested_by_uuid_and_verified(url: str, engine: docker.APIClient) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        # Needs an engine that takes GPU requests, as that of tests/tools/start_dockerd.sh does.
        running = await docker_runtime.start(launch("--dump", devices=(GPU, DeviceId("host"))))

        async def dumped() -> bool:
            return f"env CUDA_VISIBLE_DEVICES={GPU}" in await docker_runtime.log_tail(
                running.handle, 100
            )

        await until(dumped)
        seen = engine.inspect_container(container_of(running.handle))
        assert seen["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == [GPU]

    on(url, play)


# Writable for its owner, root; and the two that a server may fill, each with its bound.
OF_THE_ENGINE = frozenset(
    {
        *("/dev", "/dev/pts", "/dev/mqueue", "/dev/shm", "/dev/console", "/tmp"),
        *("/etc/resolv.conf", "/etc/hostname", "/etc/hosts"),
    }
)


def test_it_runs_with_nothing_but_what_it_needs(url: str, engine: docker.APIClient) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch(mounts=(MODELS / "a.gguf",)))
        seen = engine.inspect_container(container_of(running.handle))
        host = seen["HostConfig"]
        assert (host["Privileged"], host["ReadonlyRootfs"], host["Init"]) == (False, True, True)
        assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
        assert seen["Config"]["User"] == "65534:65534"
        assert [(each["Source"], each["RW"]) for each in seen["Mounts"]] == [(str(MODELS), False)]
        assert (host["PidsLimit"], host["Memory"]) == (4096, 1 << 30)
        check_from_the_kernel(Path(f"/proc/{seen['State']['Pid']}"))

    on(url, play, memory_bytes=1 << 30)


def check_from_the_kernel(process: Path) -> None:
    """What whoever takes over the server really has: no capability, no way to one, no file system
    to leave anything in but /tmp and the shared memory.
    """
    said = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    none = {said[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert none == {"0" * 16}
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
    assert {*said["Uid"].split(), *said["Gid"].split()} == {"65534"}
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    writable = {each[4] for each in mounts if each[5].split(",")[0] == "rw"}
    outside = {path for path in writable if not path.startswith(("/proc", "/sys"))}
    assert outside <= OF_THE_ENGINE
    assert not any("docker.sock" in each[4] for each in mounts)


def test_a_missing_image_is_named_with_what_provides_it(url: str) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        for image, remedy in (("nobody:cpu", "docker build"), ("ghcr.io/no/body:1", "docker pull")):
            with pytest.raises(StartFailed) as caught:
                await docker_runtime.start(launch(image=image))
            assert caught.value.failure.reason is FailureReason.IMAGE_MISSING
            assert image in caught.value.failure.detail
            assert remedy in caught.value.failure.remedy
            service = launch().service
            told = await docker_runtime.lacking(service, image=image, container=None)
            assert told is not None
            assert told.reason is FailureReason.IMAGE_MISSING
        assert docker_runtime.images == {}
        assert await docker_runtime.lacking(service, image=parts.IMAGE, container=None) is None
        assert docker_runtime.images[parts.IMAGE].startswith("sha256:"), "a tag may be moved"

    on(url, play)


def test_a_network_that_does_not_exist_leaves_nothing_behind(engine: docker.APIClient) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        with pytest.raises(StartFailed, match="network"):
            await docker_runtime.start(launch())
        assert engine.containers(all=True, filters={"label": f"{LABEL}={IDENTITY}"}) == []

    on(parts.need_engine(), play, network="docker-test-nowhere")


# --- names, identities, debris ------------------------------------------------------------------


def test_a_name_that_somebody_else_has_is_left_to_them(url: str, engine: docker.APIClient) -> None:
    theirs = make_named(engine, name=f"vram-{INSTANCE}")

    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch())
        assert running.handle.fields["name"] == f"vram-{INSTANCE}-2"
        assert engine.inspect_container(theirs)["State"]["Status"] == "created"

    on(url, play)


def test_a_name_that_a_dead_one_of_ours_has_is_taken_back(url: str) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        first = await docker_runtime.start(launch("--exit", "0"))
        await docker_runtime.wait(first.handle)
        second = await docker_runtime.start(launch())
        assert second.handle.fields["name"] == first.handle.fields["name"] == f"vram-{INSTANCE}"

    on(url, play)


def test_two_orchestrators_on_one_engine_do_not_see_each_other(
    engine: docker.APIClient,
) -> None:
    async def play() -> None:
        bare = parts.need_engine()
        another = replace(SETTINGS, identity=ANOTHER)
        async with runtime(bare) as one, runtime(bare, another) as two:
            mine = await one.start(launch())
            theirs = await two.start(launch())
            assert mine.handle.fields["name"] != theirs.handle.fields["name"]
            assert [found.running.handle for found in await one.discover()] == [mine.handle]
            assert [found.running.handle for found in await two.discover()] == [theirs.handle]

    asyncio.run(play())


def test_debris_of_ours_is_removed_and_nobody_elses(url: str, engine: docker.APIClient) -> None:
    theirs = make_named(engine)
    labels = {LABEL: IDENTITY, "vram-orchestrator.instance": "x-1"}
    engine.create_container(parts.IMAGE, ["/sleeper"], name=f"vram-x-{parts.RUN}", labels=labels)

    async def play(docker_runtime: DockerRuntime) -> None:
        assert await docker_runtime.discover() == []
        assert engine.containers(all=True, filters={"label": f"{LABEL}={IDENTITY}"}) == []
        assert engine.inspect_container(theirs)["State"]["Status"] == "created"

    on(url, play)


def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing(
    url: str, engine: docker.APIClient
) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        for after_s in (0, 0.005, 0.02, 0.1, 0.2):
            starting = asyncio.create_task(docker_runtime.start(launch()))
            await asyncio.sleep(after_s)
            if starting.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await starting
            else:  # a fast engine
                await docker_runtime.stop(starting.result().handle, grace_s=1)
            assert engine.containers(all=True, filters={"label": f"{LABEL}={IDENTITY}"}) == []

    on(url, play)


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["kill", "stop", "remove_container"])
def test_an_end_by_other_hands_is_noticed_at_once(
    url: str, engine: docker.APIClient, end: str
) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch())
        waiting = [asyncio.create_task(docker_runtime.wait(running.handle)) for _ in range(2)]
        await until(lambda: listening(docker_runtime))
        container = container_of(running.handle)
        if end == "remove_container":
            await asyncio.to_thread(engine.remove_container, container, force=True)
        else:
            await asyncio.to_thread(getattr(engine, end), container)
        ended_s = time.monotonic()
        exits = await asyncio.gather(*waiting)
        assert time.monotonic() - ended_s < 0.5 * crowd()
        assert [each.code for each in exits] == [0 if end == "stop" else 137] * 2

    on(url, play)


async def listening(docker_runtime: DockerRuntime) -> bool:
    return docker_runtime._events.poll_s == POLL_S_LISTENING


def test_out_of_memory_is_told_from_other_ends(url: str) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch("--lines", "2", "--eat", "200"))
        exit_ = await docker_runtime.wait(running.handle)
        assert (exit_.code, exit_.out_of_memory) == (137, True)
        assert exit_.log_tail == ("line 0", "line 1")

    on(url, play, memory_bytes=64 << 20)


def test_a_stubborn_server_is_killed_when_its_grace_is_over(
    url: str, engine: docker.APIClient
) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch("--ignore-sigterm"))
        begun_s = time.monotonic()
        await docker_runtime.stop(running.handle, grace_s=1)
        assert 0.9 < time.monotonic() - begun_s < 4 * crowd()
        assert engine.containers(all=True, filters={"label": f"{LABEL}={IDENTITY}"}) == []
        await docker_runtime.stop(running.handle, grace_s=1)  # gone already: not an error

    on(url, play)


def test_a_wait_outlives_a_stream_that_breaks(engine: docker.APIClient) -> None:
    async def play() -> None:
        bare = parts.need_engine()
        with parts.guard(bare) as guarded:
            async with runtime(guarded) as docker_runtime:
                running = await docker_runtime.start(launch())
                waiting = asyncio.create_task(docker_runtime.wait(running.handle))
                await until(lambda: listening(docker_runtime))
                docker_runtime._events._stream.close()  # type: ignore[union-attr]
                await until(lambda: deaf(docker_runtime))
                await asyncio.to_thread(engine.kill, container_of(running.handle))
                exit_ = await asyncio.wait_for(waiting, 60)
                assert exit_.code == 137
                await until(lambda: listening(docker_runtime))

    asyncio.run(play())


async def deaf(docker_runtime: DockerRuntime) -> bool:
    return docker_runtime._events.poll_s == POLL_S_DEAF


def test_a_handle_is_enough_after_a_restart_of_the_daemon(url: str) -> None:
    async def play() -> None:
        async with runtime(url) as before:
            running = await before.start(launch("--exit", "7", "--after", "600"))
        async with runtime(url) as after:
            (found,) = await after.discover()
            assert found.running == running
            assert (found.instance, found.model) == (INSTANCE, "sleeper")
            assert await after.alive(running.handle)
            assert (await after.wait(running.handle)).code == 7
            assert not await after.alive(running.handle)

    asyncio.run(play())


def test_processes_and_log_of_a_container_can_be_seen(url: str) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(
            launch("--lines", "9", "--children", "2", "--tick", "50")
        )

        async def children_run() -> bool:
            return len(await docker_runtime.pids(running.handle)) >= 4  # init, server, children

        await until(children_run)
        pids = await docker_runtime.pids(running.handle)
        names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
        assert "sleeper" in names
        size = await docker_runtime.log_size(running.handle)

        async def grows() -> bool:
            return await docker_runtime.log_size(running.handle) > size

        await until(grows)
        assert (await docker_runtime.log_tail(running.handle, 100))[:2] == ("line 0", "line 1")
        await docker_runtime.stop(running.handle, grace_s=1)
        assert await docker_runtime.log_tail(running.handle, 5) == ()
        assert await docker_runtime.log_size(running.handle) == 0

    on(url, play)


# --- what others start again --------------------------------------------------------------------


def test_a_restart_by_hand_is_an_end_and_a_return(url: str, engine: docker.APIClient) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch("--serve", "{port}"))
        assert await docker_runtime.returned(()) != []
        assert await docker_runtime.returned({InstanceId(INSTANCE)}) == []
        waiting = asyncio.create_task(docker_runtime.wait(running.handle))
        await until(lambda: listening(docker_runtime))
        await docker_runtime.stirred()
        await asyncio.to_thread(engine.restart, container_of(running.handle), 1)
        assert (await asyncio.wait_for(waiting, 60)).code == 0
        await asyncio.wait_for(docker_runtime.stirred(), 60)
        (found,) = await docker_runtime.returned(())
        assert found.instance == INSTANCE
        assert found.running.handle == running.handle
        again = asyncio.create_task(docker_runtime.wait(running.handle))
        await asyncio.sleep(0.3)
        assert not again.done(), "it is a life like any other"
        await docker_runtime.stop(running.handle, grace_s=1)
        await asyncio.wait_for(again, 60)
        assert await docker_runtime.returned(()) == []

    on(url, play)


def test_an_earlier_life_that_runs_again_makes_way_for_a_new_one(
    url: str, engine: docker.APIClient
) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        first = await docker_runtime.start(launch("--serve", "{port}"))
        second = await docker_runtime.start(launch("--serve", "{port}", instance=f"{INSTANCE}-2"))
        (left,) = engine.containers(all=True, filters={"label": f"{LABEL}={IDENTITY}"})
        assert left["Id"] == container_of(second.handle) != container_of(first.handle)

    on(url, play)


def test_one_that_is_started_by_hand_is_never_with_another_model(engine: docker.APIClient) -> None:
    """Its network is kept for it until it is removed, which it is when there is no other."""
    pool = (f"{NETWORK}-1", f"{NETWORK}-2")

    def its_network(handle: Handle) -> str:
        (name,) = engine.inspect_container(container_of(handle))["NetworkSettings"]["Networks"]
        return str(name)

    def of(name: str) -> Launch:
        return launch("--serve", "{port}", instance=f"{name}-{parts.RUN}", model=ModelName(name))

    async def play(docker_runtime: DockerRuntime) -> None:
        first = (await docker_runtime.start(of("first"))).handle
        await asyncio.to_thread(engine.kill, container_of(first))
        second = (await docker_runtime.start(of("second"))).handle
        await asyncio.to_thread(engine.start, container_of(first))
        assert (its_network(first), its_network(second)) == pool
        await asyncio.to_thread(engine.kill, container_of(first))
        third = (await docker_runtime.start(of("third"))).handle
        assert its_network(third) == pool[0]
        with pytest.raises(docker.errors.NotFound):
            await asyncio.to_thread(engine.start, container_of(first))

    for name in pool:
        engine.create_network(name, internal=True, labels=TESTED)
    on(parts.need_engine(), play, networks=pool)


# --- containers that somebody else defined ------------------------------------------------------


def test_a_named_container_is_started_stopped_and_kept(url: str, engine: docker.APIClient) -> None:
    container = make_named(engine)

    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch(container=NAMED, image=None))
        assert engine.inspect_container(container)["State"]["Running"]
        assert await docker_runtime.alive(running.handle)
        await docker_runtime.stop(running.handle, grace_s=1)
        assert engine.inspect_container(container)["State"]["Status"] == "exited"
        assert await docker_runtime.discover() == []

    on(url, play)


def test_a_named_container_that_runs_already_is_adopted_as_it_is(
    url: str, engine: docker.APIClient
) -> None:
    container = make_named(engine)
    engine.start(container)
    started_at = engine.inspect_container(container)["State"]["StartedAt"]

    async def play(docker_runtime: DockerRuntime) -> None:
        await docker_runtime.start(launch(container=NAMED))
        assert engine.inspect_container(container)["State"]["StartedAt"] == started_at

    on(url, play)


def test_what_somebody_else_has_started_is_seen_and_left_as_it_is(
    url: str, engine: docker.APIClient
) -> None:
    container = make_named(engine)

    async def play(docker_runtime: DockerRuntime) -> None:
        theirs = launch(container=NAMED, image=None)
        assert await docker_runtime.already(theirs) is None
        assert not engine.inspect_container(container)["State"]["Running"]
        engine.start(container)
        running = await docker_runtime.already(theirs)
        assert running == await docker_runtime.start(theirs)
        assert await docker_runtime.already(launch()) is None, "ours are never theirs"
        assert await docker_runtime.discover() == [], "nor theirs ours"

    on(url, play)


def test_a_missing_container_is_told_before_a_start(url: str, engine: docker.APIClient) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        service = launch().service
        told = await docker_runtime.lacking(service, image=None, container=NAMED)
        assert told is not None
        assert "docker compose create" in told.remedy
        make_named(engine)
        assert await docker_runtime.lacking(service, image=None, container=NAMED) is None

    on(url, play)


def test_a_named_container_that_the_engine_restarts_has_ended(
    url: str, engine: docker.APIClient
) -> None:
    made = engine.create_container(
        parts.IMAGE,
        ["/sleeper", "--exit", "5", "--after", "300"],
        name=NAMED,
        labels=TESTED,
        host_config=engine.create_host_config(restart_policy={"Name": "always"}),
    )

    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch(container=NAMED))
        await asyncio.wait_for(docker_runtime.wait(running.handle), 60)
        await docker_runtime.stop(running.handle, grace_s=1)
        await asyncio.sleep(0.5)  # longer than the engine's pause before a restart
        assert not engine.inspect_container(made["Id"])["State"]["Running"]

    on(url, play)


def test_a_named_container_that_does_not_exist_says_how_to_make_it(url: str) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        with pytest.raises(StartFailed) as caught:
            await docker_runtime.start(launch(container=NAMED))
        assert "docker compose create" in caught.value.failure.remedy

    on(url, play)


def test_a_cancelled_start_of_a_named_container_leaves_it_as_it_was(
    url: str, engine: docker.APIClient
) -> None:
    container = make_named(engine)

    async def play(docker_runtime: DockerRuntime) -> None:
        starting = asyncio.create_task(docker_runtime.start(launch(container=NAMED)))
        await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not engine.inspect_container(container)["State"]["Running"]

    on(url, play)


def test_a_named_container_is_stopped_whatever_it_is_called_now(engine: docker.APIClient) -> None:
    container = make_named(engine)

    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch(container=NAMED, image=None))
        engine.rename(container, f"{NAMED}-renamed")
        assert await docker_runtime.alive(running.handle)
        await docker_runtime.stop(running.handle, grace_s=1)
        assert not engine.inspect_container(container)["State"]["Running"]

    on(parts.need_engine(), play)


def test_the_guard_does_not_let_a_renamed_one_be_stopped_and_nobody_says_it_was(
    engine: docker.APIClient,
) -> None:
    container = make_named(engine)

    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch(container=NAMED, image=None))
        engine.rename(container, f"{NAMED}-renamed")
        with pytest.raises(NotStopped, match="not verified gone"):
            await docker_runtime.stop(running.handle, grace_s=1)
        assert engine.inspect_container(container)["State"]["Running"]

    with parts.guard(parts.need_engine(), GUARD_CONTAINERS=NAMED) as guarded:
        on(guarded, play)


def test_one_that_was_created_anew_under_its_name_is_stopped(
    url: str, engine: docker.APIClient
) -> None:
    first = make_named(engine)

    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch(container=NAMED, image=None))
        engine.remove_container(first, force=True)
        second = make_named(engine)
        engine.start(second)
        await docker_runtime.stop(running.handle, grace_s=1)
        assert not engine.inspect_container(second)["State"]["Running"]

    on(url, play)


def test_a_handle_from_before_the_id_was_kept_goes_by_the_name(
    url: str, engine: docker.APIClient
) -> None:
    container = make_named(engine)

    async def play(docker_runtime: DockerRuntime) -> None:
        handle = (await docker_runtime.start(launch(container=NAMED, image=None))).handle
        fields = {key: each for key, each in handle.fields.items() if key != "id"}
        older = replace(handle, fields=fields)
        assert await docker_runtime.alive(older)
        await docker_runtime.stop(older, grace_s=1)
        assert not engine.inspect_container(container)["State"]["Running"]

    on(url, play)
