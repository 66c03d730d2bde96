import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.config.expected_section import ExpectedSpeeds, expected_of
from orchestrator.core.values.speeds import Expected

READ = TypeAdapter(ExpectedSpeeds).validate_python


@pytest.mark.parametrize(("said", "bound"), [("10%", 0.1), ("2.5 %", 0.025), ("0%", 0.0)])
def test_a_bound_is_a_part_of_what_is_expected(said, bound):
    expected = expected_of(READ({"generation_tokens_per_second": 45, "bound": said}))
    assert expected == Expected(generation_tokens_per_second=45.0, bound=bound)


def test_ten_percent_where_it_does_not_say():
    assert expected_of(READ({"load_seconds": 3})) == Expected(load_seconds=3.0, bound=0.1)
    assert expected_of(None) is None


@pytest.mark.parametrize(
    "said", [{"bound": "110%"}, {"bound": "ten"}, {"load_seconds": 0}, {"x": 1}]
)
def test_what_means_nothing_is_refused(said):
    with pytest.raises(ValidationError):
        READ(said)
