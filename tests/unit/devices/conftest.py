"""The stand-in driver, compiled once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import require
from tests.standins.nvml import NvmlChild, compile_standin


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("compiler")
    return compile_standin(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def child(standin: Path, state: Path) -> Iterator[NvmlChild]:
    with NvmlChild(standin, state, deadline_s=0.3) as child:
        yield child
