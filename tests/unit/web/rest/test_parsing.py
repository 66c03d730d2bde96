import json

import pytest

from orchestrator.web.rest.parsing import DEPTH_MAX, parse


@pytest.mark.parametrize(
    "text", ['{"a": [1, 2.5, null, "x"]}', "0", "1e300", '{"n": 12345678901234567890}']
)
def test_sensible_json_is_read_as_it_is(text):
    assert parse(text) == json.loads(text)


def test_depth_is_allowed_up_to_its_bound():
    assert parse("[" * DEPTH_MAX + "]" * DEPTH_MAX)
    with pytest.raises(json.JSONDecodeError, match="nested too deeply"):
        parse("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))


def test_wide_is_not_deep():
    assert len(parse("[" + ",".join(["[]"] * 1000) + "]")) == 1000


@pytest.mark.parametrize("text", ["", "NaN", "[1,]", "1e999", "-1e999", "9" * 9999, "[" * 99999])
def test_everything_else_is_one_kind_of_error(text):
    with pytest.raises(json.JSONDecodeError):
        parse(text)
