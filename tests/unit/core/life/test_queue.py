"""Who waits for what, in order."""

from dataclasses import replace

import pytest

from orchestrator.core.life.queue import Queue, Wish
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.specs import ModelName, Serving
from orchestrator.core.values.tickets import Ticket
from tests.factories import request, resident, spec


def wish(ticket, model="a", *, priority=5, at_s=0.0, restores=False, evicts=True):
    asked = request(ticket, spec(model, gib=1), priority=priority, evicts=evicts)
    return Wish(asked, arrived_s=at_s, ends_by_s=at_s + 60, restores=restores)


def queue(*wishes):
    waiting = Queue()
    for each in wishes:
        waiting.add(each)
    return waiting


def order(waiting):
    return [line.model for line in waiting.lines()]


def test_the_most_important_line_comes_first_then_the_oldest():
    waiting = queue(
        wish(1, "old", at_s=1), wish(2, "young", at_s=2), wish(3, "dear", priority=9, at_s=3)
    )
    assert order(waiting) == ["dear", "old", "young"]


def test_wishes_for_one_model_stand_in_one_line():
    waiting = queue(wish(1), wish(2, at_s=5), wish(3, "b"))
    assert (len(waiting), waiting.line_count) == (3, 2)
    assert waiting.line(ModelName("a")).arrived_s == 0


def test_a_line_is_as_important_as_its_most_important_wish():
    waiting = queue(
        wish(1, "a", at_s=0), wish(2, "b", priority=7, at_s=1), wish(3, "a", priority=9)
    )
    assert order(waiting) == ["a", "b"]
    waiting.remove(Ticket(3))
    assert order(waiting) == ["b", "a"]


def test_a_line_whose_first_has_left_is_as_old_as_the_next():
    waiting = queue(wish(1, at_s=1), wish(2, at_s=8))
    waiting.remove(Ticket(1))
    assert waiting.line(ModelName("a")).arrived_s == 8


def test_the_last_one_to_leave_takes_the_line_along():
    waiting = queue(wish(1))
    assert waiting.remove(Ticket(1)).model == "a"
    assert (len(waiting), waiting.line_count, waiting.line(ModelName("a"))) == (0, 0, None)


def test_leaving_twice_is_no_error():
    waiting = queue(wish(1))
    waiting.remove(Ticket(1))
    assert waiting.remove(Ticket(1)) is None
    assert Ticket(1) not in waiting


def test_a_line_of_restores_alone_evicts_nobody():
    waiting = queue(wish(-1, restores=True))
    line = waiting.line(ModelName("a"))
    assert not line.evicts
    waiting.add(wish(1))
    assert line.evicts


def test_only_callers_want_other_settings_than_those_that_run():
    waiting = queue(wish(-1, restores=True))
    line = waiting.line(ModelName("a"))
    running = resident("a", gib=1)
    shorter = replace(running, spec=replace(running.spec, serving=Serving(context_size=512)))
    assert not line.wants_other_than(shorter)
    waiting.add(wish(1))
    assert line.wants_other_than(shorter)
    assert not line.wants_other_than(running)


@pytest.mark.parametrize("there", [True, False])
def test_what_was_learned_of_a_model_reaches_those_who_wait_for_it(there):
    waiting = queue(wish(1), wish(2)) if there else queue()
    learned = spec("a", gib=7)
    waiting.respecify(learned)
    found = {each.request.spec.footprint for each in waiting.wishes()}
    assert found == ({Footprint(device_bytes=7 << 30)} if there else set())


def test_what_was_learned_of_some_settings_changes_no_wish_for_others():
    other = replace(spec("a", gib=2), serving=Serving(context_size=512))
    waiting = queue(wish(1), Wish(request(2, other), 0.0, 60.0))
    waiting.respecify(spec("a", gib=7))
    first, second = waiting.wishes()
    assert first.request.spec.footprint == Footprint(device_bytes=7 << 30)
    assert second.request.spec == other


def decided_by(line):
    return [each.request.ticket for each in line.deciding], line.priority, line.evicts, line.ours


def test_those_decide_who_have_most_to_say():
    """Callers before us; of them those for whom residents may leave."""
    waiting = queue(wish(-1, restores=True, priority=9))
    line = waiting.line(ModelName("a"))
    assert decided_by(line) == ([-1], 9, False, True)
    waiting.add(wish(1, evicts=False, priority=8))
    assert decided_by(line) == ([1], 8, False, False)
    waiting.add(wish(2))
    waiting.add(wish(3, priority=6))
    assert decided_by(line) == ([2, 3], 6, True, False)
    assert line.first.request.ticket == 2
    waiting.remove(Ticket(2))
    waiting.remove(Ticket(3))
    assert decided_by(line) == ([1], 8, False, False)


HUB = replace(spec("a", gib=1), hub="org/a", supplied=True)


@pytest.mark.parametrize(
    ("asked", "file"),
    [
        (HUB, "/models/a.gguf"),
        (replace(HUB, serving=Serving(context_size=512)), "/models/a.gguf"),
        (replace(HUB, hub="org/b"), None),
        (replace(HUB, hub=None, file="/models/other.gguf"), "/models/other.gguf"),
    ],
)
def test_what_was_found_is_for_those_who_wait_for_it(asked, file):
    """Who asked after the operator wrote the model anew waits for something else."""
    waiting = queue(wish(1), Wish(request(2, asked), 0.0, 60.0))
    waiting.supply(replace(HUB, file="/models/a.gguf", footprint=Footprint(device_bytes=7 << 30)))
    _, second = waiting.wishes()
    found = second.request.spec
    assert found.file == file
    assert replace(found, file=asked.file, footprint=asked.footprint) == asked
