import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.access.keys.record import ApiKey, KeyScope
from orchestrator.access.keys.wish import KeyWish, descendants, made, seconds_in
from tests.unit.access.keys.samples import NOW_S, key

WISH = TypeAdapter(KeyWish)


def wish(**said):
    return WISH.validate_python({"name": "n8n", "scopes": ["load"], **said})


def make(creator=None, **said):
    return made(wish(**said), id_="newkey12", digest="11", now_s=NOW_S, creator=creator)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 7776000), ("24h", 86400), ("30m", 1800), ("5s", 5), ("1w", 604800)],
)
def test_duration_is_read(text, seconds):
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1y", "99999d", "1.5h", "1d1h"])
def test_other_text_is_no_duration(text):
    with pytest.raises(ValueError, match="such as 90d"):
        seconds_in(text)


@pytest.mark.parametrize(
    "said",
    [
        {"name": "a\nb"},
        {"name": ""},
        {"scopes": []},
        {"scopes": ["root"]},
        {"models": []},
        {"models": ["a?"]},
        {"models": ["[a-z]"]},
        {"networks": ["300.0.0.0/8"]},
        {"networks": ["192.0.2.7/24"]},
        {"requests_per_minute": 0},
        {"requests_per_minute": True},
        {"max_priority": False},
        {"max_lease_seconds": True},
        {"vram_mb": 0},
        {"expires": "soon"},
        {"unknown": 1},
    ],
)
def test_wish_with_a_mistake_is_refused(said):
    with pytest.raises(ValidationError):
        wish(**said)


def test_operators_key_is_as_asked():
    made_key = make(max_priority=5, expires="1d", networks=["192.0.2.0/24"])
    assert made_key == ApiKey(
        id="newkey12",
        digest="11",
        name="n8n",
        scopes=(KeyScope.LOAD,),
        created_s=NOW_S,
        max_priority=5,
        expires_s=NOW_S + 86400,
        networks=("192.0.2.0/24",),
    )


CREATOR = key(
    KeyScope.ADMIN,
    models=("qwen*", "b"),
    max_priority=5,
    requests_per_minute=30,
    burst=5,
    max_in_flight=2,
    max_waiting=2,
    vram_mb=1000,
    max_lease_s=60.0,
    max_tokens=50,
    expires_s=NOW_S + 3600,
    networks=("192.0.2.0/24",),
)


@pytest.mark.parametrize(
    ("said", "beyond"),
    [
        ({"models": ["*"]}, "models"),
        ({"models": ["qwen3", "c"]}, "models"),
        ({"max_priority": 6}, "max_priority"),
        ({"requests_per_minute": 31}, "requests_per_minute"),
        ({"burst": 6}, "burst"),
        ({"max_in_flight": 3}, "max_in_flight"),
        ({"max_waiting": 3}, "max_waiting"),
        ({"vram_mb": 1001}, "vram_mb"),
        ({"max_lease_seconds": 61}, "max_lease_seconds"),
        ({"max_tokens": 51}, "max_tokens"),
        ({"expires": "2h"}, "expires"),
        ({"networks": ["192.0.0.0/16"]}, "networks"),
        ({"networks": ["2001:db8::/64"]}, "networks"),
    ],
)
def test_sub_key_never_exceeds_its_creator(said, beyond):
    refused = make(CREATOR, **said)
    assert refused.code == "forbidden"
    assert refused.members == {"beyond": [beyond]}


def test_creator_without_a_scope_cannot_give_it():
    assert make(key(KeyScope.USE)).members == {"beyond": ["scopes"]}
    assert make(key(KeyScope.LOAD), scopes=["use"]).scopes == ("use",)


def test_where_nothing_is_said_the_creators_bounds_hold():
    sub = make(CREATOR)
    assert (sub.models, sub.networks) == (CREATOR.models, CREATOR.networks)
    assert (sub.requests_per_minute, sub.max_in_flight, sub.max_waiting) == (30, 2, 2)
    bounds = (sub.max_priority, sub.burst, sub.vram_mb, sub.max_lease_s, sub.expires_s)
    assert bounds == (5, 5, 1000, 60.0, NOW_S + 3600)
    assert sub.max_tokens == 50
    assert make(CREATOR, max_tokens=7).max_tokens == 7
    assert sub.created_by == CREATOR.id


def test_what_lies_within_is_given():
    sub = make(CREATOR, models=["qwen3*", "b"], networks=["192.0.2.128/25"], expires="30m")
    assert sub.models == ("qwen3*", "b")
    assert sub.expires_s == NOW_S + 1800


def test_descendants_are_those_that_were_made_with_it_or_with_these():
    keys = [
        key(id="a"),
        key(id="b", created_by="a"),
        key(id="c", created_by="b"),
        key(id="d"),
    ]
    assert descendants("a", keys) == {"a", "b", "c"}
    assert descendants("c", keys) == {"c"}
