from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.values.vram import MiB
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from tests.unit.web.office import Office
from tests.unit.web.samples import NOW_S, TOTAL_MB


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path) as office:
        yield office


@pytest.fixture
def devices(tmp_path: Path) -> FakeDevices:
    one = FakeDeviceSpec(name="A", total_bytes=TOTAL_MB * MiB)
    return FakeDevices(lambda: NOW_S, tmp_path / "devices", [one])


@pytest.fixture
def changeable(tmp_path: Path, devices: FakeDevices) -> Iterator[Office]:
    with Office(tmp_path, fake_devices=devices) as office:
        yield office
