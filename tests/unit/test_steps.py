"""What is logged of the steps of a load."""

import logging

import pytest

from orchestrator.steps import step


def test_a_step_says_what_it_was_and_how_long_it_took(caplog):
    caplog.set_level(logging.DEBUG, logger="orchestrator")
    with pytest.raises(KeyError), step("write ahead", "a"):
        raise KeyError
    (said,) = caplog.messages
    assert said.startswith("write ahead of a: ")
    assert said.endswith(" ms")


def test_nothing_is_said_where_nobody_asked_for_it(caplog):
    caplog.set_level(logging.INFO, logger="orchestrator")
    with step("start", "a"):
        pass
    assert not caplog.messages
