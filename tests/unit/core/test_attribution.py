"""Whose bytes they are: told by the driver, worked out from its figures, or not known."""

from dataclasses import replace

import pytest

from orchestrator.core.attribution import attribute
from orchestrator.core.failures import Failure, FailureReason
from orchestrator.core.footprints import Footprint, Provenance
from orchestrator.core.messages import Loaded
from orchestrator.core.residents import Placement, ResidentState
from orchestrator.core.state import Baseline
from orchestrator.core.vram import DeviceId, DeviceKind, GiB, MiB
from tests.factories import ENDPOINT, gpu, resident, scheduler

G0, HOST = DeviceId("g0"), DeviceId("host")
LOADING = resident("a", gib=8, state=ResidentState.LOADING)


def state_with(*parts, used_before_gib=0.0, **more):
    """A load that began when the card had so much in use, and what reads there now."""
    state = scheduler(*parts, **more).state
    state.baselines[LOADING.instance] = Baseline(
        state.ledger.version, {G0: int(used_before_gib * GiB)}
    )
    return state


def loaded(**seen):
    return Loaded(instance=LOADING.instance, endpoint=ENDPOINT, load_s=1.0, **seen)


def test_what_the_driver_tells_is_charged_and_the_peak_is_reserved_next_time():
    state = state_with(gpu(gib=24), LOADING)
    found = attribute(state, LOADING, loaded(measured={G0: 7 * GiB}, peak={G0: 9 * GiB}))
    assert found.charge.on(G0) == 7 * GiB
    assert (found.footprint.device_bytes, found.footprint.provenance) == (
        9 * GiB,
        Provenance.MEASURED,
    )
    assert found.measurement is not None
    assert (found.measurement.settled_bytes, found.measurement.residual_bytes) == (7 * GiB, GiB)


def test_where_the_driver_is_silent_the_change_of_the_device_is_the_models():
    state = state_with(gpu(gib=24, used_gib=1), LOADING, used_before_gib=1)
    found = attribute(state, LOADING, loaded())
    assert found.charge.on(G0) == 8 * GiB, "the factory lets the resident hold its charge"
    assert found.footprint.provenance is Provenance.MEASURED
    assert not found.doubt


def test_a_change_that_somebody_else_had_a_part_in_is_nobodys_measurement():
    other = resident("b", gib=4, state=ResidentState.LOADING)
    state = state_with(gpu(gib=24), LOADING, other, used_before_gib=0)
    found = attribute(state, LOADING, loaded())
    assert found.footprint == LOADING.spec.footprint
    assert found.measurement is None
    assert found.doubt == ", not measured"


def test_who_moved_and_came_to_rest_meanwhile_counts_too():
    other = resident("b", gib=4, state=ResidentState.LOADING)
    state = state_with(gpu(gib=24), LOADING, other, used_before_gib=4)
    state.ledger.put(replace(other, state=ResidentState.READY))
    assert attribute(state, LOADING, loaded()).measurement is None
    calm = state_with(gpu(gib=24), LOADING, replace(other, state=ResidentState.READY))
    calm.baselines[LOADING.instance] = Baseline(calm.ledger.version + 1, {G0: 4 * GiB})
    assert attribute(calm, LOADING, loaded()).measurement is not None


@pytest.mark.parametrize("used_before_gib", [-16, 6])
def test_an_implausible_change_is_somebody_elses(used_before_gib):
    state = state_with(gpu(gib=24), LOADING, used_before_gib=used_before_gib)
    assert attribute(state, LOADING, loaded()).measurement is None


def test_an_adopted_load_has_no_beginning_to_compare_with():
    state = state_with(gpu(gib=24), LOADING)
    state.baselines.clear()
    assert attribute(state, LOADING, loaded()).doubt


def on_host(footprint):
    spec = replace(LOADING.spec, footprint=footprint)
    shares = ((HOST, footprint.without_gpu_bytes),)
    there = replace(LOADING, spec=spec, placement=Placement(shares))
    return scheduler(gpu("host", gib=64, kind=DeviceKind.HOST), there).state, there


def test_host_ram_is_touched_lazily_and_never_charged_less_than_promised():
    promised = Footprint(device_bytes=9 * GiB, host_only_bytes=8 * GiB)
    state, there = on_host(promised)
    found = attribute(state, there, loaded(measured={HOST: 5 * GiB}))
    assert found.charge.on(HOST) == 8 * GiB
    assert found.footprint == promised


def test_host_ram_that_was_taken_beyond_the_promise_is_learned():
    state, there = on_host(Footprint(device_bytes=9 * GiB, host_only_bytes=8 * GiB))
    found = attribute(state, there, loaded(measured={HOST: 10 * GiB}))
    assert found.charge.on(HOST) == 10 * GiB
    assert found.footprint.without_gpu_bytes == 10 * GiB
    assert found.measurement is not None
    assert found.measurement.predicted_bytes == 8 * GiB


def test_spread_again_it_must_do_for_the_device_that_held_most():
    cards = (gpu("g0", gib=24), gpu("g1", gib=24))
    wide = replace(LOADING, placement=Placement(((G0, 4 * GiB), (DeviceId("g1"), 4 * GiB))))
    state = scheduler(*cards, wide).state
    seen = {G0: 5 * GiB, DeviceId("g1"): 3 * GiB}
    assert attribute(state, wide, loaded(measured=seen)).footprint.device_bytes == 10 * GiB


def test_a_device_beside_that_nobody_measured_keeps_its_charge():
    state, there = on_host(Footprint(device_bytes=8 * GiB))
    state = scheduler(gpu(gib=24), gpu("host", gib=64, kind=DeviceKind.HOST), there).state
    both = replace(there, placement=Placement(((G0, 8 * GiB), (HOST, 512 * MiB))))
    found = attribute(state, both, loaded(measured={G0: 7 * GiB}))
    assert found.charge.shares == ((G0, 7 * GiB), (HOST, 512 * MiB))
    assert (found.footprint.device_bytes, found.footprint.host_bytes) == (7 * GiB, 512 * MiB)


def test_after_an_out_of_memory_what_sufficed_is_reserved_again():
    """Its peak was between two readings, and is no less real for that."""
    state = state_with(gpu(gib=24), LOADING)
    state.retried[LOADING.name] = Failure(reason=FailureReason.OUT_OF_MEMORY, detail="")
    found = attribute(state, LOADING, loaded(measured={G0: 6 * GiB}))
    assert found.charge.on(G0) == 6 * GiB
    assert found.footprint.device_bytes == 8 * GiB
