"""Whose bytes they are: told by the driver, worked out from its figures, or not known."""

from dataclasses import replace

import pytest

from orchestrator.core.life.attribution import attribute, baseline, watch
from orchestrator.core.life.consistency import consistent
from orchestrator.core.life.state import Baseline
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.measurements import Measurement
from orchestrator.core.values.messages import Loaded
from orchestrator.core.values.residents import Placement, ResidentState
from orchestrator.core.values.vram import DeviceId, DeviceKind, GiB, MiB
from tests.factories import ENDPOINT, gpu, resident, scheduler

G0, HOST = DeviceId("g0"), DeviceId("host")
LOADING = resident("a", gib=8, state=ResidentState.LOADING)
DECLARED = LOADING.spec.footprint
ESTIMATED = replace(DECLARED, provenance=Provenance.ESTIMATED)
MEASURED = replace(DECLARED, provenance=Provenance.MEASURED)


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


def blindly(taken_gib, *, promised=DECLARED, predicted=None, sighted=None, peak_gib=0.0):
    """A load of 8 GB behind a driver that hides processes, while the device moved by so much."""
    spec = replace(LOADING.spec, footprint=promised, predicted=predicted, sighted=sighted)
    resident = replace(LOADING, spec=spec)
    state = state_with(gpu(gib=24, used_gib=3 + taken_gib - 8), resident, used_before_gib=3)
    began = state.baselines[LOADING.instance]
    highest = {G0: int((3 + max(peak_gib, taken_gib)) * GiB)}
    state.baselines[LOADING.instance] = replace(began, highest_bytes=highest)
    return attribute(state, resident, loaded())


def took(settled_gib, peak_gib=None):
    return Measurement(
        predicted_bytes=8 * GiB,
        settled_bytes=int(settled_gib * GiB),
        peak_bytes=int((peak_gib or settled_gib) * GiB),
    )


def test_a_silent_driver_is_believed_where_it_says_what_was_estimated():
    found = blindly(8.1, promised=ESTIMATED, peak_gib=8.2)
    assert found.measurement == took(8.1, 8.2)
    assert found.charge.on(G0) == int(8.1 * GiB)
    assert (found.footprint.device_bytes, found.footprint.provenance) == (
        int(8.2 * GiB),
        Provenance.MEASURED,
    )
    assert not found.doubt


@pytest.mark.parametrize(
    ("taken_gib", "peak_gib", "believed"),
    [(7.6, 0, True), (7.4, 0, False), (8.2, 0, True), (8.4, 0, False), (8.0, 8.5, False)],
)
def test_an_estimate_is_wrong_by_a_context_and_two_percent_at_most(taken_gib, peak_gib, believed):
    """Half a gigabyte more is a stranger's."""
    found = blindly(taken_gib, promised=ESTIMATED, peak_gib=peak_gib)
    assert (found.measurement is not None) is believed
    if not believed:
        assert found.charge == LOADING.placement
        assert found.footprint == ESTIMATED
        assert found.sighting is not None
        assert "not measured" in found.doubt


def test_what_was_declared_is_not_measured_by_one_look_at_a_silent_driver():
    found = blindly(8.5)
    assert found.measurement is None
    assert found.sighting == took(8.5)
    assert found.charge.on(G0) == int(8.5 * GiB), "for this life it is the best that is known"
    assert found.footprint.provenance is Provenance.UNCERTAIN
    assert "does not tell whose bytes they are; 8192 MB were promised" in found.doubt


@pytest.mark.parametrize(
    ("before", "believed"),
    [(took(8.4), True), (took(8.0), False), (took(8.5, 9.5), False)],
)
def test_two_loads_that_agree_are_a_measurement(before, believed):
    found = blindly(8.5, sighted=before)
    assert (found.measurement == took(8.5)) is believed
    assert (found.footprint.provenance is Provenance.MEASURED) is believed


def test_what_was_measured_is_measured_again_where_it_is_the_same():
    same = blindly(8.1, promised=MEASURED, predicted=DECLARED)
    assert same.measurement == took(8.1)
    more = blindly(8.6, promised=MEASURED, predicted=DECLARED)
    assert (more.measurement, more.footprint, more.charge) == (None, MEASURED, LOADING.placement)
    assert more.sighting == took(8.6)


def test_readings_during_a_load_tell_its_peak_and_who_else_helps_himself():
    state = state_with(gpu(gib=24), LOADING)
    state.ledger.observe([gpu(gib=24)], {})
    state.baselines[LOADING.instance] = baseline(state, LOADING)
    for used_gib, held_gib in ((4, 4), (14, 9), (13, 8)):
        held = {LOADING.instance: {G0: held_gib * GiB}}
        state.ledger.observe([gpu(gib=24, used_gib=used_gib)], held)
        watch(state)
    seen = state.baselines[LOADING.instance]
    assert seen.highest_bytes == {G0: 14 * GiB}
    assert seen.taken_bytes == {G0: 5 * GiB}
    assert seen.free_bytes == {G0: 24 * GiB}
    state.ledger.observe([gpu(gib=24, used_gib=20)], {})
    watch(state)
    assert state.baselines[LOADING.instance].taken_bytes == seen.taken_bytes, "nobody can tell"


def test_a_change_that_somebody_else_had_a_part_in_is_nobodys_measurement():
    other = resident("b", gib=4, state=ResidentState.LOADING)
    state = state_with(gpu(gib=24), LOADING, other, used_before_gib=0)
    found = attribute(state, LOADING, loaded())
    assert found.footprint == LOADING.spec.footprint
    assert found.measurement is None
    assert found.doubt == "; this load was not measured"


def test_who_moved_and_came_to_rest_meanwhile_counts_too():
    other = resident("b", gib=4, state=ResidentState.LOADING)
    state = state_with(gpu(gib=24), LOADING, other, used_before_gib=4)
    state.ledger.put(replace(other, state=ResidentState.READY))
    assert attribute(state, LOADING, loaded()).measurement is None
    calm = state_with(gpu(gib=24), LOADING, replace(other, state=ResidentState.READY))
    calm.baselines[LOADING.instance] = Baseline(calm.ledger.version + 1, {G0: 4 * GiB})
    assert attribute(calm, LOADING, loaded()).sighting is not None


@pytest.mark.parametrize("used_before_gib", [-16, 6])
def test_an_implausible_change_is_somebody_elses(used_before_gib):
    state = state_with(gpu(gib=24), LOADING, used_before_gib=used_before_gib)
    assert attribute(state, LOADING, loaded()).measurement is None


@pytest.mark.parametrize(
    ("beside", "charged_gib"),
    [
        (resident("b", gib=15), 9),
        (resident("b", gib=16), 8),
        (resident("b", gib=16, state=ResidentState.RESERVED), 9),
    ],
)
def test_a_change_beyond_what_the_others_leave_is_somebody_elses(beside, charged_gib):
    """The other is charged what it was promised, and computes on the processor."""
    state = state_with(gpu(gib=24), LOADING, beside)
    state.ledger.observe([gpu(gib=24, used_gib=9)], {})
    found = attribute(state, LOADING, loaded())
    assert found.charge.on(G0) == charged_gib * GiB
    assert (found.sighting is not None) is (charged_gib == 9)


def test_bytes_of_a_stranger_beside_one_that_took_nothing_charge_no_more_than_there_is():
    scene = scheduler(gpu(gib=24), LOADING, resident("b", gib=16))
    ledger = scene.state.ledger
    ledger.observe([gpu(gib=24)], {})
    scene.state.baselines[LOADING.instance] = baseline(scene.state, LOADING)
    ledger.observe([gpu(gib=24, used_gib=10)], {})
    scene.handle(loaded(), now_s=1.0)
    assert consistent(scene.state) == []
    assert ledger.charged_bytes(G0) == 24 * GiB


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
    assert found.measurement is not None
    assert found.measurement.peak_bytes == 5 * GiB, "what was seen is what is kept"
    assert found.measurement.residual_bytes == -3 * GiB


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
    assert found.measurement is not None
    assert found.measurement.host_bytes == 0


def after_a_failure(*, in_use, seen_gib):
    raised = Footprint(device_bytes=6 * GiB).raised(2 * GiB, in_use=in_use)
    resident = replace(LOADING, spec=replace(LOADING.spec, footprint=raised))
    state = state_with(gpu(gib=24), resident)
    return attribute(state, resident, loaded(measured={G0: seen_gib * GiB}))


def test_a_promise_that_was_raised_is_never_taken_for_a_measurement():
    found = after_a_failure(in_use=False, seen_gib=6)
    assert found.measurement == replace(took(6), predicted_bytes=8 * GiB)
    assert found.charge.on(G0) == 6 * GiB, "it was needed while it loaded"
    assert found.footprint.provenance is Provenance.MEASURED


def test_what_was_needed_while_it_served_is_kept_for_it():
    found = after_a_failure(in_use=True, seen_gib=6)
    assert found.measurement == replace(took(6), predicted_bytes=8 * GiB)
    assert found.charge.on(G0) == 8 * GiB
    assert found.footprint.provenance is Provenance.RAISED
    more = after_a_failure(in_use=True, seen_gib=9)
    assert more.charge.on(G0) == 9 * GiB
    assert more.footprint.provenance is Provenance.MEASURED
