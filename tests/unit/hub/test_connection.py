import pytest

from orchestrator.hub.connection import REDIRECTS_MAX, Hub
from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.progress import Patience
from tests.standins.hub import WAIT_S_MAX
from tests.unit.hub.pulls import BYTES, Pulls

TOKEN = "hf_secretsecret"


def refused(operator: Pulls, **settings: str) -> PullFailed:
    with pytest.raises(PullFailed) as caught:
        operator.pull(**settings)
    return caught.value


def test_the_token_goes_to_the_hub_and_to_nobody_else(operator: Pulls) -> None:
    operator.hub.behaviour.token = TOKEN
    operator.pull(token=TOKEN)
    told = {each.server for each in operator.hub.asked if TOKEN in str(each.headers)}
    assert told == {"hub"}
    assert any(each.server == "cdn" for each in operator.hub.asked)


def test_the_token_is_in_no_message(operator: Pulls, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    operator.hub.behaviour.hub_errors = [500] * 20
    failure = refused(operator, token=TOKEN)
    assert TOKEN not in f"{failure.detail} {failure.remedy} {operator.told} {caplog.text}"


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "", "“quoted”"])
def test_a_token_that_is_none_is_refused_without_quoting_it(operator: Pulls, token: str) -> None:
    failure = refused(operator, token=token)
    assert failure.cause is Cause.INVALID
    assert not token or token not in f"{failure.detail} {failure.remedy}"
    assert operator.hub.asked == []


@pytest.mark.parametrize("endpoint", ["", "huggingface.co", "ftp://hub", "https://", "http://[::1"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(PullFailed) as caught:
        Hub(endpoint, None, Patience())
    assert caught.value.cause is Cause.INVALID
    assert "HF_ENDPOINT" in caught.value.remedy


def test_a_busy_hub_is_asked_again_when_it_says(operator: Pulls) -> None:
    operator.hub.behaviour.busy = ["7", "0", None]
    assert operator.pull().read_bytes() == BYTES
    assert sum(operator.slept) == 7 + 4


def test_a_hub_that_stays_busy_is_left_alone(operator: Pulls) -> None:
    operator.hub.behaviour.busy = ["1"] * 50
    assert refused(operator).cause is Cause.BUSY
    assert len(operator.hub.asked) == 5


def test_a_hub_that_is_busy_for_long_is_not_waited_for(operator: Pulls) -> None:
    operator.hub.behaviour.busy = ["3600"]
    failure = refused(operator)
    assert failure.cause is Cause.BUSY
    assert "3600 s" in failure.remedy
    assert operator.slept == []


def test_trouble_that_passes_is_not_told(operator: Pulls) -> None:
    operator.hub.behaviour.hub_errors = [503, 500]
    operator.hub.behaviour.cdn_errors = [403, 502]
    assert operator.pull().read_bytes() == BYTES


def test_an_expired_address_is_replaced_by_a_new_one(operator: Pulls) -> None:
    operator.hub.behaviour.cdn_errors = [403]
    operator.pull()
    assert [each.server for each in operator.hub.bodies()] == ["hub", "cdn", "hub", "cdn"]


def test_a_hub_that_sends_the_bytes_itself_is_a_hub(operator: Pulls) -> None:
    operator.hub.behaviour.redirect = False
    operator.hub.behaviour.linked = False
    assert operator.pull().read_bytes() == BYTES


def test_the_listed_hash_is_enough(operator: Pulls) -> None:
    operator.hub.behaviour.linked = False
    assert operator.pull().read_bytes() == BYTES


def test_what_cannot_be_verified_is_not_downloaded(operator: Pulls) -> None:
    operator.hub.behaviour.digests = False
    operator.hub.digest = lambda _: "an-opaque-etag"
    assert refused(operator).cause is Cause.BAD_ANSWER
    assert operator.hub.bodies() == []


def test_redirects_end(operator: Pulls) -> None:
    operator.hub.renamed_from = operator.hub.repo
    assert refused(operator).cause is Cause.BAD_ANSWER
    assert len(operator.hub.asked) == REDIRECTS_MAX + 1


def test_a_secure_hub_does_not_lead_to_an_insecure_place() -> None:
    with Hub("https://hub.example", None, Patience()) as hub:
        with pytest.raises(PullFailed) as caught:
            hub._next(hub._endpoint, "http://elsewhere.example/file")
        assert str(hub._next(hub._endpoint, "/file")) == "https://hub.example/file"
    assert caught.value.cause is Cause.BAD_ANSWER


def test_a_stand_in_never_waits_longer_than_a_pull_does() -> None:
    assert Patience().read_s <= WAIT_S_MAX
