"""Images that a service's containers are made of, pulled by a real engine from a stand-in registry.

On the engine's bare socket, and through our guard.
"""

import asyncio
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import docker
import docker.errors
import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.runtimes.docker.engine import DockerEngine
from orchestrator.runtimes.docker.images import ImageSupply
from tests.asynchronous import eventually, run
from tests.contracts import docker_parts as parts
from tests.factories import spec
from tests.standins.registry import StandInRegistry, stand_in_registry

pytestmark = pytest.mark.docker

SPEC = spec("a", gib=1)
BALLAST_BYTES = 4 << 20


def saved_image(url: str) -> bytes:
    """An image that no engine has yet: some megabytes of noise, as `docker save` gives it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        noise = tarfile.TarInfo("noise")
        noise.size = BALLAST_BYTES
        tar.addfile(noise, io.BytesIO(os.urandom(BALLAST_BYTES)))
    with closing(docker.APIClient(base_url=url, version="auto")) as client:
        name = f"pull-test-{parts.RUN}"
        client.import_image_from_data(packed.getvalue(), repository=name, tag="1")
        try:
            return b"".join(client.get_image(f"{name}:1"))
        finally:
            client.remove_image(f"{name}:1")


@pytest.fixture
def registry() -> Iterator[StandInRegistry]:
    url = parts.need_engine()
    with stand_in_registry(saved_image(url)) as stand_in:
        try:
            yield stand_in
        finally:
            with closing(docker.APIClient(base_url=url, version="auto")) as client:
                if client.images(name=stand_in.name):
                    client.remove_image(stand_in.name)


@contextmanager
def bare(_registry: StandInRegistry) -> Iterator[str]:
    yield parts.need_engine()


@contextmanager
def guarded(registry: StandInRegistry) -> Iterator[str]:
    with parts.guard(parts.need_engine(), GUARD_IMAGES=f"other:1,{registry.name}") as url:
        yield url


@pytest.fixture(
    params=[
        pytest.param(bare, id="docker"),
        pytest.param(guarded, id="docker_guard", marks=pytest.mark.nginx),
    ]
)
def url(request, registry) -> Iterator[str]:
    with request.param(registry) as found:
        yield found


def play(scene, url: str, image: str) -> list[str]:
    """Return what was told meanwhile."""
    told: list[str] = []

    async def played() -> None:
        supply = ImageSupply(DockerEngine(url), image)
        try:
            await scene(supply, told)
        finally:
            await supply.close()

    run(played())
    return told


def present(image: str) -> bool:
    with closing(docker.APIClient(base_url=parts.need_engine(), version="auto")) as client:
        return bool(client.images(name=image))


def test_a_missing_image_is_pulled_once(url, registry):
    async def scene(supply, told):
        assert await supply.bring(SPEC, told.append) is SPEC
        assert present(registry.name)
        registry.asked.clear()
        assert await supply.bring(SPEC, told.append) is SPEC
        assert registry.asked == []

    told = play(scene, url, registry.name)
    assert told[0].startswith(f"pulling image {registry.name}")


def test_how_far_it_is_is_told(url, registry):
    registry.holds_back = True

    async def scene(supply, told):
        pull = asyncio.create_task(supply.bring(SPEC, told.append))
        await eventually(lambda: any(" of 4 MiB" in words for words in told), timeout_s=20)
        registry.go_on.set()
        assert await pull is SPEC

    play(scene, url, registry.name)


def test_a_pull_that_nobody_wants_any_more_ends(url, registry):
    registry.holds_back = True

    async def scene(supply, told):
        pull = asyncio.create_task(supply.bring(SPEC, told.append))
        await asyncio.to_thread(registry.held.wait, 20)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        registry.go_on.set()

    play(scene, url, registry.name)


def test_for_a_model_whose_size_is_unknown_nothing_is_pulled(url, registry):
    unsized = replace(SPEC, footprint=UNKNOWN)

    async def scene(supply, told):
        assert await supply.bring(unsized, told.append) is unsized

    assert play(scene, url, registry.name) == []
    assert not present(registry.name)


def test_what_the_registry_does_not_have_is_told_with_a_remedy(registry):
    image = registry.name.removesuffix(":1") + ":2"

    async def scene(supply, told):
        failure = await supply.bring(SPEC, told.append)
        assert failure.reason is FailureReason.IMAGE_MISSING
        assert "manifest" in failure.detail
        assert f"docker pull {image}" in failure.remedy

    play(scene, parts.need_engine(), image)


def test_an_engine_that_is_gone_is_nobodys_fault(tmp_path):
    async def scene(supply, told):
        failure = await supply.bring(SPEC, told.append)
        assert failure.reason is FailureReason.RUNTIME_UNAVAILABLE

    play(scene, f"unix://{tmp_path}/docker.sock", "127.0.0.1:9/a:1")


@pytest.mark.nginx
def test_the_guard_lets_only_named_images_come(registry):
    with parts.guard(parts.need_engine(), GUARD_IMAGES="other:1") as url:

        async def scene(supply, told):
            failure = await supply.bring(SPEC, told.append)
            assert "GUARD_IMAGES" in failure.detail

        play(scene, url, registry.name)
    assert registry.asked == []
