import pytest

from orchestrator.client import errors
from orchestrator.client.errors import ClientError, ContextTooSmall, LeaseLost, Refused


def test_an_error_says_cause_and_way_out():
    assert str(ClientError("It is shut.", "Open it.")) == "It is shut. Open it."
    assert str(ClientError("It is shut.")) == "It is shut."


def test_numbers_of_a_refusal_are_read_where_they_are_numbers():
    members = {"needed_mb": 61440, "available_mb": "much", "retry_after_seconds": True}
    error = Refused(507, "does_not_fit", "No.", "", members | {"log_tail": ["a", 1]})
    assert (error.needed_mb, error.available_mb, error.retry_after_s) == (61440, None, None)
    assert error.log_tail == ("a", "1")
    assert Refused(404, "x", "No.", "", {"log_tail": "text"}).log_tail == ()


def test_a_lost_lease_and_a_small_context_carry_their_numbers():
    assert LeaseLost("l-1", "It expired.").lease_id == "l-1"
    error = ContextTooSmall(900, 512)
    assert (error.needed_tokens, error.available_tokens) == (900, 512)
    assert "900" in str(error)


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type)], ids=str
)
def test_every_error_is_a_client_error(kind):
    assert issubclass(kind, ClientError)
    assert kind.__doc__
