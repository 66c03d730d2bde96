"""The shape of an answer."""

from orchestrator.gguf.footprint import MIB, Estimate, Method, Share


def test_sums_over_devices_and_tells_each() -> None:
    first = Share(10 * MIB, 2 * MIB, MIB, 600 * MIB)
    second = Share(20 * MIB, 2 * MIB, MIB, 600 * MIB)
    answer = Estimate("llama", Method.HEADER, (first, second), Share(5 * MIB, 0, MIB), ("hm",))
    assert answer.to_json() == {
        "weights_mib": 30.0,
        "context_mib": 4.0,
        "compute_mib": 2.0,
        "device_mib": 36.0,
        "overhead_mib": 1200.0,
        "host_mib": 6.0,
        "architecture": "llama",
        "method": "header",
        "devices": [
            {
                "weights_mib": 10.0,
                "context_mib": 2.0,
                "compute_mib": 1.0,
                "device_mib": 13.0,
                "overhead_mib": 600.0,
            },
            {
                "weights_mib": 20.0,
                "context_mib": 2.0,
                "compute_mib": 1.0,
                "device_mib": 23.0,
                "overhead_mib": 600.0,
            },
        ],
        "host": {"weights_mib": 5.0, "context_mib": 0.0, "compute_mib": 1.0},
        "doubts": ["hm"],
    }


def test_without_a_device_every_sum_is_zero() -> None:
    answer = Estimate("llama", Method.DRY_RUN, (), Share(5 * MIB))
    assert answer.on_devices == Share()
    assert answer.to_json()["host_mib"] == 5.0


def test_planned_leaves_out_the_overhead_and_total_does_not() -> None:
    share = Share(1, 2, 4, 8)
    assert (share.planned_bytes, share.total_bytes) == (7, 15)
