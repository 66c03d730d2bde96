"""The stand-in driver, compiled once."""

import pytest

from tests.standins.nvml import COMPILER, NvmlChild, compile_standin


@pytest.fixture(scope="session")
def standin(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C compiler: the NVML driver is not tested against its stand-in")
    return compile_standin(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def child(standin, state):
    with NvmlChild(standin, state, deadline_s=0.3) as child:
        yield child
