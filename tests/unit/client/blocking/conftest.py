from collections.abc import Iterator

import pytest

from orchestrator.client import Client, Retries
from tests.stand_in import StandIn, stand_in
from tests.unit.client.shells import fill

QUICKLY = Retries(tries_max=3, pause_s_max=0.5)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as remembered:
        fill(remembered)
        yield remembered


@pytest.fixture
def client(server: StandIn) -> Iterator[Client]:
    with Client(server.url, retries=QUICKLY) as made:
        yield made
