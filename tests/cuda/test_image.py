"""The image for GPUs, assembled with the server that is built for them, on a machine without one.

`make cuda` runs this, and `make test` does not: the build takes half an hour at least.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from tests.contracts import docker_parts
from tests.contracts.test_llama_image import (
    LABEL,
    LLAMA_SERVICE,
    SETTINGS,
    assert_chats,
    healthy,
    running,
    until,
    url_of,
)
from tests.parts import TOOLS

ROOT = LLAMA_SERVICE.parent
IMAGE = "llama-service:cuda-test"
BUILD_S_MAX = 900.0
# In place of the stage that compiles: what the same script has compiled before.
COMPILED = "ARG RUNTIME_BASE\nFROM scratch AS server\nCOPY server/ /server/\n"

pytestmark = [pytest.mark.docker, pytest.mark.llama_cuda, pytest.mark.real_model]


@pytest.fixture(scope="module")
def built() -> Path:
    done = subprocess.run(
        [TOOLS / "build_llama_cuda.sh", "--check"], check=True, capture_output=True, text=True
    )
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.APIClient]:
    url = docker_parts.engine_url()
    assert url is not None
    with closing(docker.APIClient(base_url=url, version="auto", timeout=300)) as client:
        yield client
    docker_parts.remove_all(url, LABEL)


def runtime_stage() -> str:
    """What the Dockerfile says of the image that runs, word for word."""
    text = (LLAMA_SERVICE / "Dockerfile").read_text()
    return text[text.index("FROM ${RUNTIME_BASE} AS service") :]


@pytest.fixture(scope="module")
def image(built: Path, engine: docker.APIClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    context = tmp_path_factory.mktemp("image") / "context"
    shutil.copytree(LLAMA_SERVICE, context / "llama_service")
    (context / "orchestrator").mkdir()
    shutil.copy(ROOT / "orchestrator" / "__init__.py", context / "orchestrator")
    shutil.copytree(ROOT / "orchestrator" / "hub", context / "orchestrator" / "hub")
    shutil.copytree(built / "opt", context / "server" / "opt")
    (context / "Dockerfile").write_text(COMPILED + runtime_stage())
    base = subprocess.run(
        [TOOLS / "make_base_image.sh"], check=True, capture_output=True, text=True
    ).stdout.strip()
    # The host's network: the stage installs Debian's packages.
    subprocess.run(
        [
            "docker",
            "build",
            "-q",
            "--network",
            "host",
            "--build-arg",
            f"RUNTIME_BASE={base}",
            "-t",
            IMAGE,
            context,
        ],
        check=True,
        timeout=BUILD_S_MAX,
    )
    return IMAGE


def test_there_are_kernels_for_what_was_asked(built: Path) -> None:
    kernels = (built / "opt" / "llama" / "kernels.txt").read_text()
    asked = re.search(r"-sm_([0-9_]+)-", built.name)
    assert asked is not None
    for architecture in asked[1].split("_"):
        assert re.search(rf"^ *\d{{2,}} sm_{architecture}$", kernels, re.MULTILINE), kernels


def test_the_image_says_that_there_is_no_driver_and_serves_on_the_processor(
    engine: docker.APIClient, image: str
) -> None:
    with running(engine, image, environment=SETTINGS) as container:
        until(healthy(engine, container), engine, container)
        assert_chats(url_of(engine, container))
        said = engine.logs(container).decode()
        assert re.search(r"(?i)cuda driver version is insufficient|no CUDA-capable device", said)


def test_the_image_runs_as_nobody_and_can_download(engine: docker.APIClient, image: str) -> None:
    assert engine.inspect_image(image)["Config"]["User"] == "65534:65534"
    with running(engine, image, "python3", "-c", "import httpx") as container:
        assert engine.wait(container, timeout=60)["StatusCode"] == 0
