"""What to reserve after a model has run out of memory."""

import pytest

from orchestrator.core.footprints import (
    OOM_GROWTH_BYTES_MIN,
    Footprint,
    Provenance,
    after_out_of_memory,
)
from orchestrator.core.vram import GiB, MiB


@pytest.mark.parametrize(
    ("had_bytes", "missing_bytes", "grows_by"),
    [
        (8 * GiB, 700 * MiB, 700 * MiB),  # the log said how much
        (8 * GiB, None, 2 * GiB),
        (8 * GiB, 0, 2 * GiB),
        (512 * MiB, None, OOM_GROWTH_BYTES_MIN),
    ],
)
def test_growth_after_out_of_memory(had_bytes, missing_bytes, grows_by):
    before = Footprint(device_bytes=had_bytes, host_bytes=5 * MiB, provenance=Provenance.MEASURED)
    assert after_out_of_memory(before, missing_bytes) == Footprint(
        device_bytes=had_bytes + grows_by, host_bytes=5 * MiB, provenance=Provenance.MEASURED
    )


def test_total_is_both_parts():
    assert Footprint(device_bytes=3, host_bytes=4).total_bytes == 7
