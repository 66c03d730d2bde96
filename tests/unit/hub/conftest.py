from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.hub.pulls import Pulls, pulls


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Pulls]:
    with pulls(tmp_path / "hf") as made:
        yield made
