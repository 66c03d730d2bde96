"""One daemon a test, cleaned up after it whatever happened."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.daemon import Daemon, config, running


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
