import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client import sse
from orchestrator.client.errors import NotUnderstood
from orchestrator.client.sse import EventBytes


def events(*pieces: bytes) -> list[str]:
    reader = EventBytes()
    return [event for piece in pieces for event in reader.feed(piece)]


def test_events_are_what_lies_between_blank_lines():
    assert events(b"data: a\n\ndata:b\n\n") == ["a", "b"]
    assert events(b"data: a\ndata: b\n\n") == ["a\nb"]


def test_comments_names_and_empty_events_are_dropped():
    assert events(b": loading chat\n\nevent: x\nid: 7\ndata: a\nretry: 5\n\n\n\n") == ["a"]


def test_an_event_without_its_end_is_none():
    assert events(b"data: a\n") == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_three_ways(end):
    assert events(b"data: a" + end + end + b"data: b" + end + end) == ["a", "b"]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), min_size=1)), st.data())
def test_bytes_may_be_cut_anywhere(texts, data):
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    whole = "".join(f": c{end}data: {text}{end}{end}" for text in texts).encode(errors="replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    expected = [text.encode(errors="replace").decode() for text in texts]
    # A CR at the very end may be half of a line's end; an event that it closes comes all the same.
    assert events(*pieces) == expected


def test_an_endless_event_is_given_up(monkeypatch):
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 10)
    with pytest.raises(NotUnderstood):
        events(b"data: 1234567890")
    with pytest.raises(NotUnderstood):
        events(b"data: 123\n", b"data: 456\n")
