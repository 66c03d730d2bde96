"""What is believed after loads have been seen."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.catalogue.learned import Experience, fingerprint
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.measurements import Measurement
from orchestrator.core.values.messages import Learn
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import Program, ServiceName
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, GiB
from tests.factories import resident, spec

AT = datetime(2026, 1, 15, tzinfo=UTC)
CARD = Device(id=DeviceId("g0"), name="card", kind=DeviceKind.GPU)
HOST = Device(id=DeviceId("host"), name="cpu", kind=DeviceKind.HOST)
A = replace(
    spec("a", gib=8),
    file="/models/a.gguf",
    footprint=Footprint(device_bytes=8 * GiB, provenance=Provenance.ESTIMATED),
)
LONG = replace(
    A,
    serving=replace(A.serving, context_size=32768),
    footprint=replace(A.footprint, device_bytes=12 * GiB),
)
LIFE = InstanceId("a-1")


def experience(*records, version="b1", devices=(CARD, HOST)):
    return Experience(records, versions={A.service: version}, devices=lambda: devices)


def learn(of=A, peak_gib=9.0, *, settled_gib=None, on=CARD.id, instance=LIFE, **changes):
    """One load that was seen."""
    peak = int(peak_gib * GiB)
    settled = peak if settled_gib is None else int(settled_gib * GiB)
    said = {
        "model": of.name,
        "spec": of,
        "footprint": Footprint(device_bytes=peak, provenance=Provenance.MEASURED),
        "placement": Placement(((on, settled),)),
        "load_s": 3.0,
        "measured": Measurement(
            predicted_bytes=of.footprint.device_bytes, settled_bytes=settled, peak_bytes=peak
        ),
        "instance": instance,
        "layers": (on,),
        **changes,
    }
    return Learn(**said)


def test_what_was_measured_is_promised_next():
    known = experience()
    known.learn(learn(peak_gib=9), AT)
    known.learn(learn(peak_gib=7), AT)
    believed = known.believed(A)
    assert believed.footprint.device_bytes == 9 * GiB, "the p95 of few is the most of them"
    assert believed.footprint.provenance is Provenance.MEASURED
    assert (believed.predicted, believed.load_s) == (A.footprint, 3.0)
    assert (A.load_known, believed.load_known) == (False, True)


def test_it_survives_a_restart():
    record, _ = experience().learn(learn(), AT)
    assert experience(record).believed(A).footprint == record.footprint


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "b2"},
        {"devices": (replace(CARD, name="another card"), HOST)},
    ],
)
def test_of_another_server_or_type_of_device_nothing_is_known(changed):
    record, _ = experience().learn(learn(), AT)
    assert experience(record, **changed).believed(A) == A


def test_what_ran_on_the_host_says_nothing_of_the_gpu():
    known = experience()
    known.learn(learn(on=HOST.id), AT)
    assert known.believed(A) == A
    on_host = replace(A, serving=replace(A.serving, gpu_layers=0))
    known.learn(learn(of=on_host, on=HOST.id), AT)
    assert known.believed(on_host).footprint.device_bytes == 9 * GiB


def test_settings_that_never_ran_profit_from_those_that_did():
    known = experience()
    known.learn(learn(peak_gib=7.5), AT)
    believed = known.believed(LONG)
    assert believed.footprint.device_bytes == int(11.5 * GiB)
    assert believed.footprint.provenance is Provenance.ESTIMATED
    declared = replace(LONG, footprint=Footprint(device_bytes=12 * GiB))
    assert known.believed(declared).footprint == declared.footprint, "no guess to correct"
    assert known.believed(replace(LONG, file="/models/b.gguf")).footprint == LONG.footprint


def test_a_load_that_could_not_be_measured_replaces_nothing():
    known = experience()
    known.learn(learn(), AT)
    believed = known.believed(A)
    unseen = learn(measured=None, footprint=believed.footprint, load_s=4.0)
    record, said = known.learn(unseen, AT)
    assert record.footprint == believed.footprint
    assert len(record.measurements) == 1
    assert said is None


def test_a_declaration_is_not_less_than_what_other_settings_took():
    known = experience()
    said = replace(A, footprint=Footprint(device_bytes=3 * GiB))
    known.learn(learn(of=said, peak_gib=3.5), AT)
    believed = known.believed(replace(said, serving=LONG.serving))
    assert believed.footprint.device_bytes == int(3.5 * GiB)
    assert believed.footprint.provenance is Provenance.ESTIMATED, "under these, nobody measured"
    assert believed.predicted == said.footprint


@pytest.mark.parametrize("provenance", [Provenance.DECLARED, Provenance.ESTIMATED])
def test_a_load_that_measured_nothing_tells_only_how_long_it_took(provenance):
    known = experience()
    first = replace(A, footprint=Footprint(device_bytes=GiB, provenance=provenance))
    unseen = learn(of=first, measured=None, footprint=first.footprint, load_s=4.0)
    record, _ = known.learn(unseen, AT)
    better = replace(first, footprint=replace(first.footprint, device_bytes=2 * GiB))
    for each in (known, experience(record)):
        believed = each.believed(better)
        assert believed.footprint == better.footprint
        assert (believed.predicted, believed.load_s) == (None, 4.0)


def fail(known, of=A, by_gib=1.0, **changes):
    """An out-of-memory: more is believed than before."""
    believed = known.believed(of)
    raised = believed.footprint.raised(int(by_gib * GiB), **changes)
    unseen = learn(of=believed, measured=None, footprint=raised, load_s=None, instance=None)
    return known.learn(unseen, AT)[0]


def test_a_failed_load_raises_what_is_believed_and_forgets_no_load_time():
    known = experience()
    known.learn(learn(), AT)
    record = fail(known)
    assert record.load_s == 3.0
    assert len(record.measurements) == 1
    believed = known.believed(A).footprint
    assert (believed.device_bytes, believed.provenance) == (10 * GiB, Provenance.RAISED)


def test_what_ran_out_of_memory_is_not_believed_to_need_less_because_it_loads():
    """It fails while it serves, every load of it goes well, and it settles where it suffices."""
    known = experience()
    sizes = []
    for gib in (9, None, 9, 9, None, 9):
        if gib is None:
            record = fail(known, in_use=True)
        else:
            record, said = known.learn(learn(peak_gib=gib), AT)
            assert said is None
        sizes.append(known.believed(A).footprint.device_bytes // GiB)
    assert sizes == [9, 10, 10, 10, 11, 11]
    assert experience(record).believed(A) == known.believed(A), "also after a restart"
    assert known.believed(A).footprint.raised_in_use


def test_measurements_beyond_a_guess_are_believed_as_measured():
    known = experience()
    fail(known)
    known.learn(learn(of=known.believed(A), peak_gib=11), AT)
    believed = known.believed(A).footprint
    assert (believed.device_bytes, believed.provenance) == (11 * GiB, Provenance.MEASURED)


def test_another_declaration_ends_a_guess():
    known = experience()
    said = replace(A, footprint=Footprint(device_bytes=3 * GiB))
    fail(known, said)
    assert known.believed(said).footprint.device_bytes == 4 * GiB
    again = replace(A, footprint=Footprint(device_bytes=2 * GiB))
    assert known.believed(again).footprint == again.footprint


def test_what_a_load_seemed_to_take_is_kept_until_one_is_measured():
    known = experience()
    seemed = learn().measured
    record, _ = known.learn(learn(measured=None, sighted=seemed, footprint=A.footprint), AT)
    believed = experience(record).believed(A)
    assert (believed.footprint, believed.sighted) == (A.footprint, seemed)
    known.learn(learn(), AT)
    assert known.believed(A).sighted is None


def test_host_ram_is_kept_as_it_was_seen_and_not_believed_below_the_estimate():
    known = experience(devices=(HOST,))
    record, _ = known.learn(learn(on=HOST.id, peak_gib=6), AT)
    assert record.measurements[0].peak_bytes == 6 * GiB
    assert known.believed(A).footprint == A.footprint
    assert known.believed(LONG).footprint == LONG.footprint, "nor is that of other settings"
    known.learn(learn(on=HOST.id, peak_gib=9), AT)
    assert known.believed(A).footprint.provenance is Provenance.MEASURED
    _, said = known.learn(learn(on=HOST.id, peak_gib=5), AT)
    assert said is None, "it was not touched yet"


def test_a_residual_that_drifts_is_said():
    known = experience()
    _, calm = known.learn(learn(peak_gib=9), AT)
    _, drifted = known.learn(learn(peak_gib=11), AT)
    assert calm is None
    assert drifted is not None
    assert "2048 MB more" in drifted.text


def test_a_peak_that_came_later_counts_when_the_life_ends():
    known = experience()
    known.learn(learn(peak_gib=9), AT)
    assert known.end(LIFE, {CARD.id: int(9.01 * GiB)}, AT) is None, "no more than rounding"
    known.learn(learn(peak_gib=9), AT)
    record = known.end(LIFE, {CARD.id: 10 * GiB}, AT)
    assert record is not None
    assert record.footprint.device_bytes == 10 * GiB
    assert known.believed(A).footprint.device_bytes == 10 * GiB
    assert known.end(LIFE, {CARD.id: 20 * GiB}, AT) is None, "it ended already"


def test_the_peak_of_a_life_that_outlived_the_daemon_counts():
    record, _ = experience().learn(learn(peak_gib=9), AT)
    after = experience(record)
    after.resume(replace(resident("a", gib=9), spec=A))
    kept = after.end(LIFE, {CARD.id: 10 * GiB}, AT)
    assert kept is not None
    assert after.believed(A).footprint.device_bytes == 10 * GiB
    other = experience(record, version="b2")
    other.resume(replace(resident("a", gib=9), spec=A))
    assert other.end(LIFE, {CARD.id: 10 * GiB}, AT) is None, "of another server it says nothing"


def test_a_life_that_nobody_saw_ends_without_a_lesson():
    assert experience().end(LIFE, {CARD.id: GiB}, AT) is None
    known = experience()
    known.learn(learn(), AT)
    assert known.end(LIFE, None, AT) is None


def test_what_is_shown_is_what_is_believed_and_the_same_thing_until_that_changes():
    known, specs = experience(), {A.name: A, "b": spec("b", gib=1)}
    assert known.shown(specs) is known.shown(specs)
    assert list(known.shown(specs).values()) == list(specs.values())
    known.learn(learn(peak_gib=9), AT)
    shown = known.shown(specs)
    assert shown[A.name] == known.believed(A)
    assert shown[A.name] is known.shown(dict(specs))[A.name], "so that lists are not encoded anew"
    known.end(LIFE, {CARD.id: 10 * GiB}, AT)
    assert known.shown(specs)[A.name].footprint.device_bytes == 10 * GiB
    changed = {A.name: replace(A, priority=9)}
    assert known.shown(changed)[A.name].priority == 9


def test_the_fingerprint_goes_by_what_occupies_bytes():
    assert fingerprint(A) == fingerprint(replace(A, priority=9, ttl_s=1.0, load_s=2.0))
    for changed in (
        replace(A, file="/m.gguf"),
        replace(A, mmproj="/p.gguf"),
        replace(A, span=2),
        replace(A, service=ServiceName("other")),
        LONG,
    ):
        assert fingerprint(changed) != fingerprint(A)
    assert fingerprint(A, version="b2") != fingerprint(A) != fingerprint(A, device_type="x")


def test_arguments_of_the_operator_are_settings_and_without_them_all_is_as_it_was():
    own = replace(A, serving=replace(A.serving, extra_args=("--swa-full",)))
    assert fingerprint(own) != fingerprint(A)
    program = replace(A, program=Program(argv=("run", "${PORT}")))
    assert len({fingerprint(program), fingerprint(own), fingerprint(A)}) == 3
    assert fingerprint(A) == "89ab8d8a268d8a68"
