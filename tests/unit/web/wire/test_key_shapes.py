from orchestrator.access.keys.record import FormerSecret
from orchestrator.web.wire import key_shapes
from tests.unit.access.keys.samples import NOW_S, key


def test_no_digest_and_no_secret_is_shown():
    record = key(digest="d1935t", former=FormerSecret(digest="f0rm3r", ends_s=NOW_S + 1))
    told = str(key_shapes.key(record, NOW_S))
    assert "d1935t" not in told
    assert "f0rm3r" not in told


def test_status_says_why_a_key_is_none():
    assert key_shapes.key(key(), NOW_S)["status"] == "valid"
    assert key_shapes.key(key(expires_s=NOW_S), NOW_S)["status"] == "expired"
    assert key_shapes.key(key(revoked_s=NOW_S), NOW_S)["status"] == "revoked"


def test_where_there_are_no_keys_everybody_is_everything():
    told = key_shapes.who(None)
    assert told["scopes"] == ["admin", "lease", "load", "read", "use"]
    assert set(told["limits"].values()) == {None}
