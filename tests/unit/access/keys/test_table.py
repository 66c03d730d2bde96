from orchestrator.access.keys.decision import Presented
from orchestrator.access.keys.form import digest_of
from orchestrator.access.keys.record import BrowserSession
from orchestrator.access.keys.table import KeyTable, VramShare, revoked, rotated
from tests.unit.access.keys.samples import NOW_S, key

FIRST, SECOND = b"vo_first", b"vo_second"
MINE = key(digest=digest_of(FIRST))


def test_key_is_found_by_its_secret_alone():
    table = KeyTable(1, [MINE])
    assert table.shown(FIRST) == Presented(MINE)
    assert table.shown(SECOND) is None
    assert table.shown(digest_of(FIRST).encode()) is None


def test_doors_are_open_only_where_there_never_was_a_key():
    assert not KeyTable().closed
    assert KeyTable(2, revoked(MINE.id, [MINE], NOW_S)).closed


def test_rotated_key_has_two_secrets_for_the_grace():
    twice = rotated(MINE, digest_of(SECOND), NOW_S, 60)
    table = KeyTable(2, [twice])
    assert table.shown(SECOND) == Presented(twice)
    assert table.shown(FIRST) == Presented(twice, NOW_S + 60)
    assert twice.id == MINE.id


def test_without_grace_the_secret_of_before_is_nothing():
    table = KeyTable(2, [rotated(MINE, digest_of(SECOND), NOW_S, 0)])
    assert table.shown(FIRST) is None


def test_revocation_ends_what_was_made_with_the_key():
    child, stranger = key(id="child", created_by=MINE.id), key(id="stranger")
    ended = revoked(MINE.id, [MINE, child, stranger], NOW_S)
    assert [one.id for one in ended] == [MINE.id, "child"]
    assert all(one.revoked_s == NOW_S for one in ended)


def test_session_stands_for_its_key_until_its_end():
    session = BrowserSession(digest=digest_of(b"cookie"), key=MINE.id, ends_s=NOW_S + 1)
    table = KeyTable(1, [MINE], [session])
    assert table.session(b"cookie", NOW_S) == session
    assert table.session(b"cookie", NOW_S + 1) is None
    assert table.session(b"other", NOW_S) is None
    assert table.of_session(session) == Presented(MINE, session.ends_s)
    assert KeyTable(1, [], [session]).of_session(session) is None


def test_a_key_shares_the_vram_of_those_that_it_was_made_with():
    maker = key(id="maker", vram_mb=30)
    child = key(id="child", vram_mb=10, created_by="maker")
    grandchild = key(id="grandchild", created_by="child")
    stranger = key(id="stranger")
    table = KeyTable(1, [maker, child, grandchild, stranger])
    family, branch = frozenset({"maker", "child", "grandchild"}), frozenset({"child", "grandchild"})
    assert table.shares(maker) == (VramShare(30, family),)
    assert table.shares(child) == (VramShare(10, branch), VramShare(30, family))
    assert table.shares(grandchild) == table.shares(child)
    assert table.shares(stranger) == ()
