from collections.abc import Iterator

import pytest

from tests.stand_in import StandIn, stand_in
from tests.unit.client.shells import fill


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as remembered:
        fill(remembered)
        yield remembered
