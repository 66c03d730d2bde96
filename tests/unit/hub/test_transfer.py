import hashlib
from pathlib import Path

import pytest

from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.transfer import BREAKS_MAX
from tests.unit.hub.pulls import BYTES, MODEL, Pulls, pulls


def ranges(operator: Pulls) -> list[str | None]:
    return [each.headers.get("Range") for each in operator.hub.bodies() if each.server == "cdn"]


def refused(operator: Pulls) -> PullFailed:
    with pytest.raises(PullFailed) as caught:
        operator.pull()
    return caught.value


def test_a_broken_connection_goes_on_where_it_broke(operator: Pulls) -> None:
    operator.hub.behaviour.truncate = [100_000, 50_000]
    assert operator.pull().read_bytes() == BYTES
    assert ranges(operator) == [None, "bytes=100000-", "bytes=150000-"]


def test_a_line_that_brings_nothing_is_given_up_and_what_came_is_kept(operator: Pulls) -> None:
    operator.hub.behaviour.truncate = [100_000, *[0] * 20]
    failure = refused(operator)
    assert failure.cause is Cause.TRUNCATED
    assert "kept" in failure.remedy
    assert len(ranges(operator)) == 1 + 5
    assert list(operator.blobs().values()) == [100_000]


def test_a_line_that_breaks_for_ever_is_given_up(operator: Pulls) -> None:
    operator.hub.behaviour.truncate = [1] * (BREAKS_MAX + 10)
    assert refused(operator).cause is Cause.TRUNCATED
    assert len(ranges(operator)) == BREAKS_MAX


def test_a_server_without_ranges_starts_from_the_beginning(operator: Pulls) -> None:
    operator.hub.behaviour.ranges = False
    operator.leave(b"x" * 100_000)
    assert operator.pull().read_bytes() == BYTES
    assert operator.told[-1].done_bytes == len(BYTES)


def test_a_server_without_ranges_that_breaks_is_given_up(operator: Pulls) -> None:
    operator.hub.behaviour.ranges = False
    operator.hub.behaviour.truncate = [100_000] * 50
    assert refused(operator).cause is Cause.TRUNCATED
    assert len(ranges(operator)) == 1 + 5


def test_a_silent_server_is_left_after_the_bound(operator: Pulls) -> None:
    operator.hub.behaviour.stall_after = 100_000

    def let_go(_: object) -> None:
        if operator.hub.stalled.is_set() and len(ranges(operator)) > 1:
            operator.hub.go_on.set()

    assert operator.pull(watch=let_go).read_bytes() == BYTES
    assert ranges(operator)[1] == "bytes=100000-"


def test_wrong_bytes_never_get_the_models_name(operator: Pulls) -> None:
    operator.hub.behaviour.corrupt = 2
    assert refused(operator).cause is Cause.WRONG_HASH
    assert operator.blobs() == {}
    assert operator.pull().read_bytes() == BYTES


def test_a_bad_beginning_of_an_earlier_pull_is_thrown_away(operator: Pulls) -> None:
    operator.leave(b"x" * 100_000)
    assert operator.pull().read_bytes() == BYTES
    assert ranges(operator) == ["bytes=100000-", None]


@pytest.mark.parametrize("left", [BYTES, BYTES + b"more", b"x" * len(BYTES)])
def test_whatever_an_earlier_pull_left_ends_right(operator: Pulls, left: bytes) -> None:
    operator.leave(left)
    assert operator.pull().read_bytes() == BYTES


def test_a_complete_leftover_is_verified_and_not_asked_for_again(operator: Pulls) -> None:
    operator.leave(BYTES)
    assert operator.pull().read_bytes() == BYTES
    assert ranges(operator) == []


def test_bytes_without_end_are_not_taken(operator: Pulls) -> None:
    operator.hub.behaviour.longer = 1
    assert refused(operator).cause is Cause.WRONG_HASH
    assert operator.pull().read_bytes() == BYTES


def test_a_file_that_git_keeps_is_verified_as_git_names_it(operator: Pulls) -> None:
    def as_git(_: str) -> str:
        return hashlib.sha1(b"blob %d\0" % len(BYTES) + BYTES).hexdigest()

    operator.hub.behaviour.digests = False
    operator.hub.digest = as_git
    assert operator.pull().read_bytes() == BYTES


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    with pulls(tmp_path, {MODEL: b""}) as operator:
        assert operator.pull().read_bytes() == b""
