import sqlite3

import pytest

from orchestrator.access.keys import acts
from orchestrator.access.keys.acts import TooManyKeys, UnknownKey
from orchestrator.access.keys.decision import Presented
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.keys.store import KeyFile
from orchestrator.access.keys.wish import KeyWish
from tests.unit.access.keys.samples import NOW_S, key
from tests.unit.access.keys.stored import read_once

WISH = KeyWish(name="ci", scopes=(KeyScope.LOAD,))


@pytest.fixture
def file(tmp_path):
    file = KeyFile.at(tmp_path)
    yield file
    file.close()


def test_created_key_is_on_the_disk_without_its_secret(file, tmp_path):
    new, table = acts.create(file, WISH, NOW_S)
    again = read_once(tmp_path)
    assert again.shown(new.secret.encode()).key == new.record == table.keys[new.record.id]
    assert new.secret.startswith(f"vo_{new.record.id}_")
    assert new.secret[12:].encode() not in file.path.read_bytes()
    assert new.secret[12:] not in repr(new)


def test_key_that_may_not_be_made_changes_nothing(file):
    _, before = acts.create(file, WISH, NOW_S)
    refused, table = acts.create(file, WISH, NOW_S, key(KeyScope.READ))
    assert refused.code == "forbidden"
    assert table.generation == before.generation
    assert len(table.keys) == 1


def test_number_of_keys_is_bounded(file, monkeypatch):
    monkeypatch.setattr(acts, "KEYS_MAX", 1)
    acts.create(file, WISH, NOW_S)
    with pytest.raises(TooManyKeys):
        acts.create(file, WISH, NOW_S)


def test_rotation_keeps_the_id_and_both_secrets_for_the_grace(file):
    old, _ = acts.create(file, WISH, NOW_S)
    new, table = acts.rotate(file, old.record.id, NOW_S, 60)
    assert new.record.id == old.record.id
    assert table.shown(old.secret.encode()).ends_s == NOW_S + 60
    assert table.shown(new.secret.encode()).ends_s is None


def test_revocation_ends_the_key_its_children_and_their_logins(file):
    old, _ = acts.create(file, KeyWish(name="a", scopes=(KeyScope.ADMIN,)), NOW_S)
    child, _ = acts.create(file, WISH, NOW_S, old.record)
    (cookie, _), _ = acts.log_in(file, Presented(child.record), NOW_S)
    ended, table = acts.revoke(file, old.record.id, NOW_S)
    assert {key.id for key in ended} == {old.record.id, child.record.id}
    assert table.session(cookie.encode(), NOW_S) is None
    for act in (acts.revoke, lambda *said: acts.rotate(*said, 0)):
        with pytest.raises(UnknownKey):
            act(file, old.record.id, NOW_S)
        with pytest.raises(UnknownKey):
            act(file, "nothing1", NOW_S)


def test_login_ends_after_twelve_hours_with_its_key_and_with_the_grace(file):
    new, _ = acts.create(file, KeyWish(name="a", scopes=(KeyScope.READ,), expires="1h"), NOW_S)
    (_, session), _ = acts.log_in(file, Presented(key()), NOW_S)
    assert session.ends_s == NOW_S + 12 * 3600
    (cookie, session), table = acts.log_in(file, Presented(new.record), NOW_S)
    assert session.ends_s == NOW_S + 3600
    _, table = acts.rotate(file, new.record.id, NOW_S, 60)
    assert table.session(cookie.encode(), NOW_S + 59) is not None
    assert table.session(cookie.encode(), NOW_S + 60) is None


def test_logout_ends_a_session_once_and_again(file):
    new, _ = acts.create(file, WISH, NOW_S)
    (cookie, session), _ = acts.log_in(file, Presented(new.record), NOW_S)
    for _ in range(2):
        _, table = acts.log_out(file, session)
        assert table.session(cookie.encode(), NOW_S) is None


def test_sessions_that_are_over_are_dropped_with_the_next_login(file):
    new, _ = acts.create(file, WISH, NOW_S)
    acts.log_in(file, Presented(new.record), NOW_S)
    acts.log_in(file, Presented(new.record), NOW_S + acts.SESSION_S)
    with sqlite3.connect(file.path) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    connection.close()
