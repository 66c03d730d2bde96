import pytest

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.record import BrowserSession, KeyScope
from orchestrator.access.keys.table import KeyTable, rotated
from orchestrator.access.rights import EVERYTHING, NOTHING, Forbidden, Rights
from tests.unit.access.keys.samples import key


def rights(*scopes, **more):
    return Rights(caller=Caller(key="abcd1234", via=Via.HTTP), key=key(*scopes, **more))


def code(act, *said):
    with pytest.raises(Forbidden) as refused:
        act(*said)
    return str(refused.value.why.code)


def test_without_keys_everything_is_allowed():
    EVERYTHING.need(KeyScope.ADMIN)
    EVERYTHING.may_ask_with(1000)
    EVERYTHING.may_lease_for(None)
    assert EVERYTHING.sees("a")
    assert EVERYTHING.owns(None)
    assert EVERYTHING.owns("other123")


def test_session_that_was_logged_out_is_over(tmp_path):
    mine, session = key(KeyScope.READ), BrowserSession(digest="f" * 64, key="abcd1234", ends_s=9.0)
    by = Caller(key=mine.id, session=session.mark, via=Via.HTTP)
    held = Rights(caller=by, key=mine, proof=session.digest)
    assert not held.over(KeyTable(1, [mine], [session]), 1.0)
    assert held.over(KeyTable(1, [mine], [session]), 9.0)
    assert held.over(KeyTable(2, [mine]), 1.0)


def test_secret_of_before_is_over_when_its_grace_is():
    mine = key(KeyScope.READ, digest="1" * 64)
    held = Rights(caller=Caller(key=mine.id, via=Via.HTTP), key=mine, proof=mine.digest)
    at_once, later = (rotated(mine, "2" * 64, 1.0, grace_s) for grace_s in (0.0, 5.0))
    assert not held.over(KeyTable(1, [mine]), 1.0)
    assert held.over(KeyTable(2, [at_once]), 1.0)
    assert not held.over(KeyTable(2, [later]), 5.0)
    assert held.over(KeyTable(2, [later]), 6.0)
    assert held.over(KeyTable(3, [rotated(later, "3" * 64, 2.0, 0.0)]), 2.0)


def test_who_shows_no_key_has_nothing():
    assert all(code(NOTHING.need, scope) == "forbidden" for scope in KeyScope)
    assert not NOTHING.sees("a")
    assert not NOTHING.owns(None)


def test_key_has_what_its_scopes_imply():
    mine = rights(KeyScope.LOAD)
    mine.need(KeyScope.USE)
    assert code(mine.need, KeyScope.ADMIN) == "forbidden"
    assert mine.has(KeyScope.READ)
    assert not mine.has(KeyScope.LEASE)


def test_ceiling_and_length_are_not_clamped():
    mine = rights(KeyScope.LOAD, max_priority=5, max_lease_s=60.0)
    mine.may_ask_with(5)
    mine.may_lease_for(60)
    assert code(mine.may_ask_with, 6) == "priority_too_high"
    assert code(mine.may_lease_for, 61) == "lease_too_long"
    assert code(mine.may_lease_for, None) == "lease_too_long"


def test_what_others_have_is_for_admins():
    assert rights().owns("abcd1234")
    assert not rights().owns("other123")
    assert not rights().owns(None)
    assert rights(KeyScope.ADMIN).owns("other123")
    assert not rights(KeyScope.ADMIN, models=("a",)).owns("other123")
    assert rights(KeyScope.ADMIN, models=("a",)).owns("abcd1234")
    assert rights(KeyScope.ADMIN).sees_all
    assert not rights(KeyScope.ADMIN, models=("a",)).sees_all
    assert not rights(KeyScope.LOAD).sees_all
