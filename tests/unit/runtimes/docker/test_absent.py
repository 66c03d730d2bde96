from orchestrator.runtimes.docker.absent import Absent
from orchestrator.runtimes.docker.events import POLL_S_DEAF, POLL_S_LISTENING


class Events:
    starts = 0
    poll_s = POLL_S_LISTENING


def test_what_was_not_there_is_asked_for_again_after_a_while_or_a_start():
    events, now = Events(), [100.0]
    absent = Absent(events, lambda: now[0])
    assert not absent.still("wan")
    absent.note("wan", events.starts)
    assert absent.still("wan")
    assert not absent.still("ovi")
    now[0] += POLL_S_LISTENING
    assert not absent.still("wan")
    absent.note("wan", events.starts)
    events.starts += 1
    assert not absent.still("wan")


def test_a_start_between_the_question_and_its_answer_is_not_missed():
    events = Events()
    absent = Absent(events, lambda: 0.0)
    before = events.starts
    events.starts += 1
    absent.note("wan", before)
    assert not absent.still("wan")


def test_without_a_stream_of_events_it_is_asked_for_soon():
    events, now = Events(), [0.0]
    events.poll_s = POLL_S_DEAF
    absent = Absent(events, lambda: now[0])
    absent.note("wan", 0)
    now[0] += POLL_S_DEAF
    assert not absent.still("wan")


def test_what_is_there_is_not_remembered():
    absent = Absent(Events(), lambda: 0.0)
    absent.note("wan", 0)
    absent.forget("wan")
    assert not absent.still("wan")
