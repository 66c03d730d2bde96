import pytest

from orchestrator.access.keys.record import BrowserSession, KeyScope
from tests.unit.access.keys.samples import key


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("read", {"read"}),
        ("use", {"read", "use"}),
        ("load", {"read", "use", "load"}),
        ("lease", {"lease"}),
        ("admin", {"read", "use", "load", "lease", "admin"}),
    ],
)
def test_read_is_part_of_use_is_part_of_load(scope, granted):
    assert key(KeyScope(scope)).granted == granted


def test_scopes_add_up():
    assert key(KeyScope.USE, KeyScope.LEASE).granted == {"read", "use", "lease"}


def test_key_sees_the_models_of_its_globs():
    narrow = key(models=("qwen*", "a"))
    assert [narrow.sees(name) for name in ("qwen3", "a", "ab", "Qwen3")] == [
        True,
        True,
        False,
        False,
    ]
    assert key().sees("anything")


def test_session_has_a_mark_that_is_no_secret():
    assert BrowserSession(digest="0123456789ab", key="k", ends_s=1.0).mark == "01234567"
