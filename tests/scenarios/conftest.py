"""One daemon a test, cleaned up after it whatever happened."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import parts
from tests.scenarios.daemon import Daemon, config, running
from tests.scenarios.n8n import WORKFLOWS, N8n, build_node


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons: `daemons(models, **sections)`; each has a directory of its own."""
    with ExitStack() as stack:
        count = 0

        def start(models: dict[str, Any], **sections: Any) -> Daemon:
            nonlocal count
            count += 1
            directory = tmp_path / f"daemon-{count}"
            directory.mkdir()
            return stack.enter_context(running(directory, config(models, **sections)))

        yield start


@pytest.fixture(scope="session")
def n8n_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts.require("n8n")
    return build_node(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def n8n(tmp_path_factory: pytest.TempPathFactory, n8n_node: Path) -> Iterator[N8n]:
    """One server with our node and all our workflows, for all tests of a worker."""
    extensions = {"N8N_CUSTOM_EXTENSIONS": str(n8n_node / "dist")}
    started = N8n(tmp_path_factory.mktemp("n8n"), {}, extensions)
    started.bring_in("workflow", *sorted(WORKFLOWS.glob("*.json")))
    with started.served():
        yield started
