"""Where a spec could go at all, whoever is there now."""

from dataclasses import replace

import pytest

from orchestrator.core.room.placement import SPREADS_MAX, placements, usable_devices
from orchestrator.core.values.specs import Serving
from orchestrator.core.values.vram import DeviceKind, GiB
from tests.factories import gpu, ledger, resident, spec, unreadable

HOST = gpu("host", gib=32, kind=DeviceKind.HOST)
JETSON = gpu("igpu", gib=16, kind=DeviceKind.UNIFIED)


def check(wanted, *parts):
    account = ledger(*parts)
    return [
        {device: share / GiB for device, share in each.shares}
        for each in placements(wanted, account, usable_devices(wanted, account))
    ]


def test_host_ram_is_no_place_for_a_model_while_there_is_a_gpu():
    assert check(spec("a", gib=8), gpu("g0", gib=24), HOST) == [{"g0": 8}]


def test_a_machine_without_a_gpu_is_budgeted_by_its_ram():
    assert check(spec("a", gib=8, host_gib=2), HOST) == [{"host": 10}]


def test_a_model_that_offloads_nothing_goes_to_the_host():
    wanted = replace(spec("a", gib=8), serving=Serving(gpu_layers=0))
    assert check(wanted, gpu("g0", gib=24), HOST) == [{"host": 8}]


@pytest.mark.parametrize("wanted", ["g1", "card g1", "unified"])
def test_devices_are_chosen_by_id_name_or_kind(wanted):
    second = gpu("g1", gib=24, kind=DeviceKind.UNIFIED)
    assert check(spec("a", gib=8, devices=(wanted,)), gpu("g0", gib=24), second) == [{"g1": 8}]


def test_one_memory_takes_both_parts_of_a_footprint():
    assert check(spec("a", gib=8, host_gib=2), JETSON, HOST) == [{"igpu": 10}]


def test_the_hosts_part_is_charged_to_the_host():
    assert check(spec("a", gib=8, host_gib=2), gpu("g0", gib=24), HOST) == [{"g0": 8, "host": 2}]


def test_the_hosts_part_counts_for_nothing_where_ram_is_not_read():
    assert check(spec("a", gib=8, host_gib=2), gpu("g0", gib=24)) == [{"g0": 8}]


def test_a_device_that_cannot_be_read_is_no_place():
    assert check(spec("a", gib=8), unreadable("g0"), gpu("g1", gib=24)) == [{"g1": 8}]


def test_who_is_there_now_does_not_matter():
    assert check(spec("a", gib=20), gpu("g0", gib=24), resident("b", gib=20)) == [{"g0": 20}]


def test_a_wide_model_is_cut_evenly_and_no_byte_is_lost():
    wanted = replace(spec("a", gib=30, span=3), footprint=spec("a", gib=30).footprint)
    found = check(wanted, *(gpu(f"g{i}", gib=12) for i in range(3)))
    assert found == [{"g0": 10, "g1": 10, "g2": 10}]
    odd = replace(wanted, footprint=replace(wanted.footprint, device_bytes=100))
    shares = [share for each in check(odd, gpu("g0", gib=1), gpu("g1", gib=1)) for share in each]
    assert shares[:2] == ["g0", "g1"]


def test_narrow_comes_before_wide():
    found = check(spec("a", gib=10, span=2), gpu("g0", gib=24), gpu("g1", gib=24))
    assert [len(each) for each in found] == [1, 1, 2]


def test_no_more_spreads_are_looked_at_than_anybody_needs():
    cards = [gpu(f"g{i:02}", gib=24) for i in range(16)]
    found = check(spec("a", gib=100, span=8), *cards)
    assert 0 < len(found) <= SPREADS_MAX * 8


def test_the_roomiest_devices_are_tried_first_for_a_spread():
    crowded = resident("b", gib=20, on="g0")
    cards = (gpu("g0", gib=24), gpu("g1", gib=24), gpu("g2", gib=24))
    assert check(spec("a", gib=40, span=2), *cards, crowded)[0] == {"g1": 20, "g2": 20}
