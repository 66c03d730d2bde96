from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.ollama import server_events as module
from orchestrator.gateway.ollama.server_events import EventReader, EventTooLarge

STREAM = (
    ": waits for a\n\n"
    'data: {"a": 1}\r\n\r\n'
    'event: message\nid: 7\ndata:{"b":\ndata: 2}\n\n\n'
    'error: {"c": 3}\n\n'
    "data: é\n\n"
    "data: [DONE]\n\n"
).encode()
EVENTS = [b'{"a": 1}', b'{"b":\n2}', b'{"c": 3}', "é".encode(), b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_reads_the_same_in_pieces_of_any_size(cuts):
    reader, events = EventReader(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        events += reader.feed(STREAM[start:end])
    assert events + list(reader.close()) == EVENTS


def test_the_last_event_may_lack_its_empty_line():
    reader = EventReader()
    assert list(reader.feed(b"data: 1\n\ndata: 2")) == [b"1"]
    assert list(reader.close()) == [b"2"]
    assert list(reader.close()) == []


@pytest.mark.parametrize("line_end", [b"", b"\ndata: "])
def test_an_event_without_end_does_not_fill_the_memory(monkeypatch, line_end):
    monkeypatch.setattr(module, "EVENT_BYTES_MAX", 1000)
    reader = EventReader()
    pieces = [b"data: ", *[b"x" * 100 + line_end] * 20]
    with pytest.raises(EventTooLarge):
        all(list(reader.feed(piece)) == [] for piece in pieces)
