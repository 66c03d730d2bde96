"""Bytes that nobody can read are null, and host RAM is VRAM only where there is no GPU."""

from orchestrator.core.values.vram import DeviceKind, DeviceState
from orchestrator.web.wire import devices, shaping
from tests.unit.web.samples import account, snapshot


def test_unknown_readings_are_null_never_zero():
    body = shaping.status(snapshot(accounts=(account(state=DeviceState.LOST),)))
    unknown = ("total_mb", "used_mb", "free_mb", "available_mb", "foreign_mb")
    for figures in (body, body["devices"][0]):
        assert [figures[key] for key in unknown] == [None] * 5
        assert figures["utilization_percent"] is None
    assert body["devices"][0]["problem"] == "fallen off the bus"


def test_sums_are_over_gpus_that_can_be_read():
    accounts = (
        account("gpu-0", total_mb=1000),
        account("gpu-1", total_mb=500),
        account("gpu-2", state=DeviceState.LOST),
        account("host", kind=DeviceKind.HOST, total_mb=64000),
    )
    body = shaping.status(snapshot(accounts=accounts))
    assert (body["total_mb"], len(body["devices"])) == (1500, 4)
    assert devices.host_devices(accounts) == {"host"}


def test_host_ram_is_counted_where_there_is_no_gpu():
    accounts = (account("host", kind=DeviceKind.HOST, total_mb=64000),)
    assert shaping.status(snapshot(accounts=accounts))["total_mb"] == 64000
    assert devices.host_devices(accounts) == frozenset()
