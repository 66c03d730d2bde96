"""The stand-in driver, compiled once."""

import pytest

from tests.parts import require
from tests.standins.nvml import NvmlChild, compile_standin


@pytest.fixture(scope="session")
def standin(tmp_path_factory):
    require("compiler")
    return compile_standin(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def child(standin, state):
    with NvmlChild(standin, state, deadline_s=0.3) as child:
        yield child
