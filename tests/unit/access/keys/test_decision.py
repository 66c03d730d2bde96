import pytest

from orchestrator.access.keys.decision import Presented, decide
from orchestrator.access.keys.record import KeyScope
from tests.unit.access.keys.samples import NOW_S, key


def said(shown, scope=KeyScope.READ, **more):
    found = decide(shown, scope, now_s=more.pop("now_s", NOW_S), **more)
    return None if found is None else str(found.code)


def test_without_a_known_key_nothing_is_granted():
    assert said(None) == said(None, None) == "unauthorized"


@pytest.mark.parametrize("has", KeyScope)
@pytest.mark.parametrize("needs", KeyScope)
def test_scope_that_is_lacking_is_named(has, needs):
    mine = key(has)
    found = decide(Presented(mine), needs, now_s=NOW_S)
    assert (found is None) == (needs in mine.granted)
    if found is not None:
        assert found.code == "forbidden"
        assert found.members["scope"] == needs
        assert f"`{needs}`" in found.detail


def test_revoked_key_is_unknown():
    assert said(Presented(key(revoked_s=NOW_S - 1))) == "unauthorized"


def test_key_and_former_secret_expire_by_time():
    assert said(Presented(key(expires_s=NOW_S + 1))) is None
    assert said(Presented(key(expires_s=NOW_S + 1)), now_s=NOW_S + 1) == "key_expired"
    former = Presented(key(expires_s=NOW_S + 9), ends_s=NOW_S + 1)
    assert said(former) is None
    assert said(former, now_s=NOW_S + 2) == "key_expired"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("192.0.2.7", None),
        ("::ffff:192.0.2.7", None),
        ("2001:db8::1", None),
        ("fe80::1%eth0", "wrong_network"),
        ("192.0.3.7", "wrong_network"),
        ("", "wrong_network"),
        (None, "wrong_network"),
        ("no address", "wrong_network"),
    ],
)
def test_key_is_for_its_networks(address, code):
    shown = Presented(key(networks=("192.0.2.0/24", "2001:db8::/32")))
    assert said(shown, address=address) == code


def test_priority_over_the_ceiling_is_refused_and_not_clamped():
    shown = Presented(key(max_priority=5))
    assert said(shown, priority=5) is None
    assert said(shown, priority=None) is None
    assert said(shown, priority=6) == "priority_too_high"
    assert said(Presented(key()), priority=99) is None
