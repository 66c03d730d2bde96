from datetime import timedelta, timezone

import pytest
from pydantic import TypeAdapter

from orchestrator.core.values.residents import ResidentState
from orchestrator.registry.encoding import (
    SHAPE_VERSION,
    Unreadable,
    instant,
    read_json,
    readable,
    to_column,
    to_json,
)
from tests.unit.registry.records import NOON

PAIRS = TypeAdapter(dict[str, int | str])


def test_instants_sort_as_text_in_every_zone():
    later = (NOON + timedelta(microseconds=1)).astimezone(timezone(timedelta(hours=-9)))
    assert instant(NOON) < instant(later) < instant(NOON + timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (ResidentState.READY, "ready"),
        ("log \udcff line", "log ? line"),
        (NOON, "2026-01-15T12:00:00.000000+00:00"),
        (("a", "é"), '["a", "é"]'),
        (True, 1),
        (7, 7),
        (None, None),
    ],
)
def test_a_column_takes(value, column):
    taken = to_column(value)
    assert (type(taken), taken) == (type(column), column)


def test_json_carries_its_shape():
    assert to_json(PAIRS, {"a": 1}) == f'{{"shape": {SHAPE_VERSION}, "a": 1}}'
    assert read_json(PAIRS, to_json(PAIRS, {"a": "\udcff"}))["a"] == "?"
    with pytest.raises(Unreadable, match="newer orchestrator"):
        read_json(PAIRS, '{"shape": 99}')


def test_what_cannot_be_read_says_where():
    with pytest.raises(Unreadable, match=r"a\..*: Input should be a valid integer"):
        readable(lambda: PAIRS.validate_python({"a": []}))
