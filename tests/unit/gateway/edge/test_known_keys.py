import base64
import json

import pytest

from orchestrator.access.keys.record import FormerSecret, KeyScope
from orchestrator.access.keys.table import KeyTable
from orchestrator.gateway.edge.known_keys import FILE, text_of, write
from tests.unit.access.keys.samples import NOW_S, key

DIGEST, OTHER = "ab" * 32, "cd" * 32


def told(*keys):
    head, *lines = text_of(KeyTable(7, keys)).splitlines()
    secrets = {}
    for line in lines:
        hashed, said = line.split(" ", 1)
        secrets[base64.b64decode(hashed).hex()] = json.loads(said)
    return json.loads(head), secrets


def test_without_keys_it_says_that_none_is_needed():
    assert told() == ({"closed": False, "generation": 7, "secrets": 0}, {})


def test_a_key_is_told_with_its_bounds_and_without_its_name():
    head, secrets = told(key(KeyScope.LOAD, digest=DIGEST, models=("a*",), max_priority=3))
    assert (head["closed"], head["secrets"]) == (True, 1)
    assert secrets[DIGEST] == {
        "id": "abcd1234",
        "use": True,
        "asks": False,
        "models": ["a*"],
        "max_priority": 3,
        "per_minute": 60,
        "burst": None,
        "in_flight": 8,
        "networks": None,
        "makers": [],
        "ends_s": None,
    }


def test_a_key_without_use_is_told_so():
    assert not told(key(KeyScope.READ, digest=DIGEST))[1][DIGEST]["use"]


def test_one_with_a_ceiling_of_tokens_is_not_let_in_by_nginx():
    said = told(key(KeyScope.LOAD, digest=DIGEST, max_tokens=100))[1][DIGEST]
    assert (said["use"], said["asks"]) == (False, True)


def test_the_keys_that_it_was_made_with_have_their_minute():
    maker = key(KeyScope.ADMIN, id="maker123", digest=OTHER, requests_per_minute=9)
    _, secrets = told(maker, key(digest=DIGEST, created_by="maker123"))
    makers = [{"id": "maker123", "per_minute": 9, "burst": None}]
    assert (secrets[DIGEST]["makers"], secrets[OTHER]["makers"]) == (makers, [])


def test_one_that_was_revoked_keeps_it_closed_and_is_not_told():
    assert told(key(digest=DIGEST, revoked_s=NOW_S))[0] == {
        "closed": True,
        "generation": 7,
        "secrets": 0,
    }


def test_the_secret_of_before_ends_with_its_grace_or_with_the_key():
    former = FormerSecret(digest=OTHER, ends_s=NOW_S + 9)
    _, secrets = told(key(digest=DIGEST, former=former, expires_s=NOW_S + 20))
    assert (secrets[OTHER]["ends_s"], secrets[DIGEST]["ends_s"]) == (NOW_S + 9, NOW_S + 20)
    _, secrets = told(key(digest=DIGEST, former=former, expires_s=NOW_S + 5))
    assert secrets[OTHER]["ends_s"] == NOW_S + 5


def test_it_is_kept_for_the_group_alone(tmp_path):
    for text in ("one\n", "two\n"):
        write(tmp_path, text)
    assert (tmp_path / FILE).read_text() == "two\n"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_where_it_cannot_be_written_the_older_one_is_gone(tmp_path):
    write(tmp_path, "one\n")
    (tmp_path / f"{FILE}.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write(tmp_path, "two\n")
    assert not (tmp_path / FILE).exists()
