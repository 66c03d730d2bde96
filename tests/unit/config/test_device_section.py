from orchestrator.config.device_section import DeviceSettings
from orchestrator.core.values.vram import DeviceId, MiB

GPU = DeviceId("GPU-1")


def test_a_budget_holds_for_all_devices_or_for_one_by_id_or_name():
    assert DeviceSettings().budget_bytes(GPU, "RTX") is None
    assert DeviceSettings(budget_mb=700).budget_bytes(GPU, "RTX") == 700 * MiB
    each = DeviceSettings(budget_mb={"GPU-1": 1, "L4": 2})
    assert each.budget_bytes(GPU, "L4") == 1 * MiB
    assert each.budget_bytes(DeviceId("GPU-2"), "L4") == 2 * MiB
    assert each.budget_bytes(DeviceId("host"), "RAM") is None


def test_a_budget_of_nothing_is_a_budget():
    assert DeviceSettings(budget_mb=0).budget_bytes(GPU, "RTX") == 0
