"""Readings: unknown is None, never 0."""

from dataclasses import replace

from orchestrator.core.values.vram import DeviceId, GiB, MiB, is_cuda, to_mb
from tests.factories import gpu, unreadable


def test_used_is_what_is_not_free():
    assert gpu(gib=24, used_gib=10).used_bytes == 10 * GiB


def test_used_is_unknown_where_a_part_is_unknown():
    reading = gpu(gib=24)
    assert unreadable().used_bytes is None
    assert replace(reading, total_bytes=None).used_bytes is None
    assert replace(reading, free_bytes=None).used_bytes is None


def test_megabytes_are_whole_and_binary():
    assert [to_mb(each) for each in (0, MiB - 1, MiB, 17 * GiB)] == [0, 0, 1, 17408]


def test_gpus_and_their_parts_have_to_be_given_and_ram_and_fakes_do_not():
    given = [name for name in ("GPU-1", "MIG-2", "host", "fake-0") if is_cuda(DeviceId(name))]
    assert given == ["GPU-1", "MIG-2"]
