"""Whether a program works for somebody, by what it says of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engines.use_figures import KNOWN, use_in
from orchestrator.ports import Use

VLLM = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="qwen"} 2.0
vllm:num_requests_waiting{engine="0",model_name="qwen"} 1.0
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="stop",model_name="qwen"} 40.0
vllm:request_success_total{finished_reason="length",model_name="qwen"} 2.0
python_gc_objects_collected_total{generation="0"} 12345.0
"""
NOTHING = Use(busy_slots=None, served_total=None)


def test_known_servers_are_understood_without_a_word():
    assert use_in(VLLM, KNOWN) == Use(busy_slots=3, served_total=42.0)
    assert use_in(VLLM.replace("2.0", "0").replace("1.0", "0"), KNOWN).busy_slots == 0


def test_counters_are_told_by_their_type_or_their_name():
    text = "# TYPE seen counter\nseen 7\nmade_total 3\nqueue 0.5\n"
    assert use_in(text, ("seen", "made_total", "queue")) == Use(busy_slots=1, served_total=10.0)


def test_names_that_are_not_there_tell_nothing():
    assert use_in(VLLM, ("my_queue",)) == NOTHING
    assert use_in("<html>", KNOWN) == NOTHING


@pytest.mark.parametrize(
    ("text", "busy"),
    [
        ('{"queue_running": [1, 2], "queue_pending": [3]}', 3),
        ('{"queue_running": []}', 0),
        ('{"queue_running": true}', 1),
        ('{"queue_running": "many"}', None),
        ('{"state": {"job_count": 4}}', 4),
        ('{"state": 4}', None),
        ('{"state": ', None),
    ],
)
def test_json_is_counted_by_numbers_lists_and_truths(text, busy):
    names = ("queue_running", "queue_pending", "state.job_count")
    assert use_in(text, names) == Use(busy_slots=busy, served_total=None)


@given(st.text(alphabet='{}[]"abc_:. 0123456789eE+-\n#') | st.text())
def test_no_answer_of_a_program_breaks_the_look_at_it(text):
    use_in(text, ("a", "b", "c", "a.b"))
