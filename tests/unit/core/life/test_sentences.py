from dataclasses import replace

from orchestrator.core.life.sentences import given_up_said, known_as, slots_said
from orchestrator.core.values.footprints import Footprint, Provenance
from tests.factories import resident


def test_where_a_figure_comes_from():
    measured = Footprint(device_bytes=1, provenance=Provenance.MEASURED)
    assert known_as(measured, "") == "measured"
    assert known_as(measured, ", not seen now") == "measured before, not seen now"
    declared = replace(measured, provenance=Provenance.DECLARED)
    assert known_as(declared, ", not seen now") == "declared, not seen now"


def test_the_tokens_of_requests_are_said_where_they_share():
    there = resident("a", gib=1)
    assert slots_said(replace(there, slots=())) == ""
    assert slots_said(replace(there, slots=(4096,))) == ""
    said = slots_said(replace(there, slots=(4096, 1024)))
    assert said == " 2 requests at once, 1024 to 4096 tokens for each."
    assert "4096 tokens" in slots_said(replace(there, slots=(4096, 4096)))


def test_what_it_had_to_give_up_is_said():
    there = resident("a", gib=1)
    assert given_up_said(there) == ""
    lesser = replace(there, spec=replace(there.spec, given_up=("batch 256",)))
    assert given_up_said(lesser) == " It had to give up: batch 256."
