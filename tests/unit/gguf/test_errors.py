"""The one error of the package."""

from orchestrator.gguf.errors import GgufError


def test_is_a_value_error_so_that_config_validation_reports_it() -> None:
    assert issubclass(GgufError, ValueError)
