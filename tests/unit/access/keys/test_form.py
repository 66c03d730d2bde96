import re

from orchestrator.access.keys.form import digest_of, new_id, new_key, new_session


def test_key_has_a_public_id_and_256_random_bits():
    id_ = new_id()
    key = new_key(id_)
    assert re.fullmatch(r"vo_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", key)
    assert key.startswith(f"vo_{id_}_")
    assert new_key(id_) != key
    assert len({new_id() for _ in range(100)}) == 100
    assert len(new_session()) == 43


def test_digest_is_sha256_of_the_whole():
    assert digest_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
