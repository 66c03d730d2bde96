import json
from datetime import timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.values.leases import Lease
from orchestrator.core.values.messages import Decide, DecisionKind
from orchestrator.core.values.residents import ResidentState
from orchestrator.ports import DecisionRecord, LearnedRecord, ResidentRecord
from orchestrator.registry import shapes
from tests.unit.registry.records import (
    NOON,
    decision,
    finished,
    learned,
    lease,
    operation,
    resident,
    running,
)

# JSON has neither; no clock, size or handle of ours is ever one of them.
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
EXAMPLES = 40  # each builds a whole record; the shapes have few branches


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.from_type(ResidentRecord))
def test_every_resident_survives_the_table(record):
    assert shapes.from_resident_row(shapes.to_resident_row(record)) == record


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.from_type(Lease))
def test_every_lease_survives_the_table(held):
    assert shapes.from_lease_row(shapes.to_lease_row(held)) == held


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.builds(LearnedRecord, measured_at=st.just(NOON)))
def test_every_footprint_survives_the_table(record):
    assert shapes.from_learned_row(shapes.to_learned_row(record)) == record


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.builds(DecisionRecord, at=st.just(NOON), decision=st.from_type(Decide)))
def test_every_decision_survives_the_table(record):
    assert shapes.from_decision_row(shapes.to_decision_row(record)) == record


def test_operations_survive_the_table():
    for one in (operation("o1"), finished("o2", NOON)):
        assert shapes.from_operation_row(shapes.to_operation_row(one)) == one


def changed(record, change):
    """The row of a resident whose JSON somebody else has written."""
    row = shapes.to_resident_row(record)
    fields = json.loads(row.record)
    change(fields)
    row.record = json.dumps(fields)
    return row


def test_what_a_newer_release_added_is_dropped():
    def grow(fields):
        fields["resident"]["spec"]["serving"]["added_later"] = 1
        fields["resident"]["added_later"] = {"deep": []}
        fields["added_later"] = None

    assert shapes.from_resident_row(changed(resident("a"), grow)) == resident("a")


def test_what_an_older_release_lacked_has_its_default():
    def shrink(fields):
        del fields["resident"]["spec"]["serving"]
        del fields["resident"]["why_leaving"]
        del fields["resident"]["lease_count"]

    assert shapes.from_resident_row(changed(resident("a"), shrink)) == resident("a")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda fields: fields["resident"].update(state="asleep"), "resident.state: .*'reserved'"),
        (lambda fields: fields["resident"].pop("instance"), "resident.instance: Field required"),
        (lambda fields: fields.update(shape=99), "newer orchestrator"),
        (lambda fields: fields.pop("shape"), "no shape version"),
    ],
)
def test_what_cannot_be_meant_is_unreadable(change, complaint):
    with pytest.raises(shapes.Unreadable, match=complaint):
        shapes.from_resident_row(changed(resident("a"), change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"shape": 1}', b"\xff\x00", None, 7])
def test_what_is_no_record_at_all_is_unreadable(text):
    row = shapes.to_resident_row(resident("a"))
    row.record = text
    with pytest.raises(shapes.Unreadable):
        shapes.from_resident_row(row)


def test_a_decision_of_an_unknown_kind_or_time_is_unreadable():
    for column, value in (("kind", "guess"), ("at", "noonish"), ("evicted", "{}")):
        row = shapes.to_decision_row(decision(1))
        setattr(row, column, value)
        with pytest.raises(shapes.Unreadable):
            shapes.from_decision_row(row)


def test_halves_of_characters_do_not_stop_a_record():
    torn = "log \udcff line"
    read = shapes.from_decision_row(shapes.to_decision_row(decision(1, text=torn)))
    assert read.decision.text == "log ? line"
    written = resident("a", ResidentState.STUCK, why_leaving=torn)
    assert shapes.from_resident_row(shapes.to_resident_row(written)).resident.why_leaving == (
        "log ? line"
    )
    assert shapes.from_lease_row(shapes.to_lease_row(lease("l", "a", owner=torn))).owner == (
        "log ? line"
    )


def test_instants_sort_as_text_in_every_zone():
    zone = timezone(timedelta(hours=-9))
    later = (NOON + timedelta(microseconds=1)).astimezone(zone)
    assert shapes.instant(NOON) < shapes.instant(later) < shapes.instant(NOON + timedelta(hours=1))
    assert shapes.from_decision_row(shapes.to_decision_row(decision(1, at=later))).at == later


def test_the_kind_is_written_as_the_word_that_everybody_says():
    assert shapes.to_decision_row(decision(1, kind=DecisionKind.EVICT)).kind == "evict"
    assert shapes.to_resident_row(resident("a", running=running())).state == "ready"
    assert shapes.to_learned_row(learned()).measured_at == "2026-01-15T12:00:00.000000+00:00"
