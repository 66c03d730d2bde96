import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.leases import Lease
from orchestrator.core.values.residents import ResidentState
from orchestrator.records import DecisionRecord, LearnedRecord, ResidentRecord
from orchestrator.registry.encoding import Unreadable
from orchestrator.registry.tables import (
    DECISIONS,
    LEARNED,
    LEASES,
    OPERATIONS,
    PINS,
    RESIDENTS,
    LeaseRow,
)
from tests.unit.registry.records import (
    NOON,
    decision,
    finished,
    learned,
    lease,
    operation,
    pin,
    resident,
    running,
)

# JSON has neither; no clock, size or handle of ours is ever one of them.
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
EXAMPLES = 40  # each builds a whole record; the shapes have few branches


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.from_type(ResidentRecord))
def test_every_resident_survives_the_table(record):
    assert RESIDENTS.decode(RESIDENTS.encode(record)) == record


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.from_type(Lease))
def test_every_lease_survives_the_table(held):
    assert LEASES.decode(LEASES.encode(held)) == held


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.builds(LearnedRecord, measured_at=st.just(NOON)))
def test_every_footprint_survives_the_table(record):
    assert LEARNED.decode(LEARNED.encode(record)) == record


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.builds(DecisionRecord, at=st.just(NOON), decision=st.builds(Decide, key=st.none())))
def test_every_decision_survives_the_table(record):
    assert DECISIONS.decode(DECISIONS.encode(record)) == record


def test_operations_and_pins_survive_the_table():
    for one in (operation("o1"), finished("o2", NOON)):
        assert OPERATIONS.decode(OPERATIONS.encode(one)) == one
    for one in (pin("a", True), pin("a", False)):
        assert PINS.decode(PINS.encode(one)) == one


def test_what_an_operator_looks_for_has_a_column():
    row = RESIDENTS.encode(resident("a"))
    assert (row.instance, row.model, row.runtime, row.state) == ("a-1", "a", "process", "ready")


def test_a_lease_names_its_resident():
    row = LEASES.encode(lease("l1", "a"))
    assert isinstance(row, LeaseRow)
    assert (row.id, row.instance, row.model, row.owner) == ("l1", "a-1", "a", "n8n")


def changed(record, change):
    """The row of a resident whose JSON somebody else has written."""
    row = RESIDENTS.encode(record)
    fields = json.loads(row.record)
    change(fields)
    row.record = json.dumps(fields)
    return row


def test_what_a_newer_release_added_is_dropped():
    def grow(fields):
        fields["resident"]["spec"]["serving"]["added_later"] = 1
        fields["resident"]["added_later"] = {"deep": []}
        fields["added_later"] = None

    assert RESIDENTS.decode(changed(resident("a"), grow)) == resident("a")


def test_what_an_older_release_lacked_has_its_default():
    def shrink(fields):
        del fields["resident"]["spec"]["serving"]
        del fields["resident"]["why_leaving"]
        del fields["resident"]["lease_count"]

    assert RESIDENTS.decode(changed(resident("a"), shrink)) == resident("a")


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
    with pytest.raises(Unreadable, match=complaint):
        RESIDENTS.decode(changed(resident("a"), change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"shape": 1}', b"\xff\x00", None, 7])
def test_what_is_no_record_at_all_is_unreadable(text):
    row = RESIDENTS.encode(resident("a"))
    row.record = text
    with pytest.raises(Unreadable):
        RESIDENTS.decode(row)


def test_a_decision_of_an_unknown_kind_or_time_is_unreadable():
    for column, value in (("kind", "guess"), ("at", "noonish"), ("evicted", "{}")):
        row = DECISIONS.encode(decision(1))
        setattr(row, column, value)
        with pytest.raises(Unreadable):
            DECISIONS.decode(row)


def test_halves_of_characters_do_not_stop_a_record():
    torn = "log \udcff line"
    read = DECISIONS.decode(DECISIONS.encode(decision(1, text=torn)))
    assert read.decision.text == "log ? line"
    written = resident("a", ResidentState.STUCK, why_leaving=torn)
    assert RESIDENTS.decode(RESIDENTS.encode(written)).resident.why_leaving == ("log ? line")
    assert LEASES.decode(LEASES.encode(lease("l", "a", owner=torn))).owner == ("log ? line")


def test_the_kind_is_written_as_the_word_that_everybody_says():
    assert DECISIONS.encode(decision(1, kind=DecisionKind.EVICT)).kind == "evict"
    assert RESIDENTS.encode(resident("a", running=running())).state == "ready"
    assert LEARNED.encode(learned()).measured_at == "2026-01-15T12:00:00.000000+00:00"
