"""Quotas of keys: who is charged, and what that refuses."""

from dataclasses import replace

from orchestrator.core.life.charges import charged, payer, quota_of
from orchestrator.core.life.consistency import consistent
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import Deny, Grant, Recovered, Released
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelName, room_spec
from orchestrator.core.values.vram import DeviceId, GiB
from tests.factories import request, resident, spec
from tests.unit.core.life.test_scheduler import Play

A, B, C = spec("a", gib=6), spec("b", gib=6), spec("c", gib=4)
MINE = frozenset({"mine1234"})
KEY = {"key": "mine1234", "bounds": (KeyBound(10 * GiB, MINE),)}


def play():
    return Play(A, B, C)


def code_of(effects):
    denied = [effect for effect in effects if isinstance(effect, Deny)]
    return denied[0].refusal.code if denied else None


def granted(effects):
    return [effect for effect in effects if isinstance(effect, Grant)]


def brought(scene, name):
    return scene.loaded(name) if scene.state(name) is ResidentState.LOADING else None


def mine(scene):
    return {str(name): size // GiB for name, size in charged(scene.scheduler.state, MINE).items()}


def kept(scene):
    """By which keys leases are held, beside those of requests."""
    leases = scene.scheduler.state.leases.values()
    return sorted(lease.key for lease in leases if lease.kind is not LeaseKind.REQUEST)


def test_model_is_charged_to_the_key_whose_wish_brought_it():
    scene = play()
    scene.request(1, A, **KEY)
    assert scene.resident("a").key == "mine1234"
    assert mine(scene) == {"a": 6}


def test_second_model_beyond_the_quota_is_refused_although_there_is_room():
    scene = play()
    scene.request(1, A, **KEY)
    brought(scene, "a")
    assert code_of(scene.request(2, B, **KEY)) is RefusalCode.OVER_QUOTA
    assert scene.resident("b") is None
    scene.request(3, C, **KEY)
    assert mine(scene) == {"a": 6, "c": 4}
    assert not consistent(scene.scheduler.state)


def test_key_pays_nothing_for_a_model_that_others_brought_until_it_leases_it():
    scene = play()
    scene.request(1, A, key="other123")
    brought(scene, "a")
    assert granted(scene.request(2, A, **KEY))
    assert mine(scene) == {}
    leased = granted(scene.request(3, A, hold=LeaseKind.OWNER, owner="me", lease_s=60.0, **KEY))
    assert mine(scene) == {"a": 6}
    assert code_of(scene.request(4, B, **KEY)) is RefusalCode.OVER_QUOTA
    scene.tell(Released(leased[0].lease.id))
    assert mine(scene) == {}


def test_lease_beyond_the_quota_is_refused_where_the_model_is_ready():
    scene = play()
    scene.request(1, A, key="other123")
    brought(scene, "a")
    narrow = {**KEY, "bounds": (KeyBound(5 * GiB, MINE),)}
    said = scene.request(2, A, hold=LeaseKind.OWNER, owner="me", lease_s=60.0, **narrow)
    assert code_of(said) is RefusalCode.OVER_QUOTA
    assert not kept(scene)
    assert granted(scene.request(3, A, **narrow))


def test_of_a_line_the_first_that_can_pay_pays_and_the_others_come_along():
    scene = play()
    scene.request(1, A, **KEY)
    brought(scene, "a")
    scene.files_are_sound = False
    scene.now_s += 1
    state = scene.scheduler.state
    scene.request(2, B, **KEY)  # refused at once: it is alone
    scene.request(3, B, key="other123")
    assert state.ledger.resident(ModelName("b")).key == "other123"
    assert mine(scene) == {"a": 6}


def test_room_is_charged_like_a_model():
    scene = play()
    room = room_spec(ModelName("lease-me-1"), 8 * GiB, DeviceId("g0"), 5)
    scene.request(1, room, hold=LeaseKind.ROOM, owner="me", lease_s=60.0, **KEY)
    assert mine(scene) == {"lease-me-1": 8}
    other = room_spec(ModelName("lease-me-2"), 4 * GiB, DeviceId("g0"), 5)
    said = scene.request(2, other, hold=LeaseKind.ROOM, owner="me", lease_s=60.0, **KEY)
    assert code_of(said) is RefusalCode.OVER_QUOTA
    assert not consistent(scene.scheduler.state)


def test_charge_outlives_a_restart_and_ends_when_the_model_leaves():
    scene = play()
    there = replace(resident("a", gib=6), key="mine1234")
    scene.tell(Recovered(residents=(there,)))
    assert mine(scene) == {"a": 6}
    scene.scheduler.state.ledger.put(replace(scene.resident("a"), state=ResidentState.UNLOADING))
    assert mine(scene) == {}


def test_owner_of_the_same_name_and_another_key_has_a_lease_of_its_own():
    scene = play()
    scene.request(1, A, key="other123")
    brought(scene, "a")
    for ticket, key in ((2, "mine1234"), (3, "other123"), (4, "mine1234")):
        scene.request(ticket, A, hold=LeaseKind.OWNER, owner="me", lease_s=60.0, key=key)
    assert kept(scene) == ["mine1234", "other123"]


def test_room_and_its_lease_belong_to_one_key():
    scene = play()
    room = room_spec(ModelName("lease-me-1"), GiB, DeviceId("g0"), 5)
    scene.request(1, room, hold=LeaseKind.ROOM, owner="me", lease_s=60.0, **KEY)
    scene.scheduler.state.ledger.put(replace(scene.resident("lease-me-1"), key="other123"))
    assert any("is charged to mine1234" in said for said in consistent(scene.scheduler.state))


def test_the_first_wish_pays_where_its_quota_is_just_enough():
    line = Line(A.name)
    for number, (key, gib) in enumerate({"mine1234": 6, "else5678": 100}.items()):
        wish = request(number, A, key=key, bounds=(KeyBound(gib * GiB, frozenset({key})),))
        line.add(Wish(wish, 0.0, 60.0))
    assert payer(play().scheduler.state, line.deciding).key == "mine1234"


def test_nobody_pays_who_does_not_decide():
    """Neither our own wish to bring it back nor a caller for whom no resident may leave lends a
    quota that it does not have.
    """
    line = Line(A.name)
    line.add(Wish(request(-1, A), 0.0, 60.0, restores=True))
    line.add(Wish(request(1, A, evicts=False), 0.0, 60.0))
    line.add(Wish(request(2, A, **KEY), 0.0, 60.0))
    assert payer(play().scheduler.state, line.deciding).key == "mine1234"


FAMILY = KeyBound(10 * GiB, frozenset({"maker123", "mine1234", "sister12"}))
SUB = {"key": "mine1234", "bounds": (FAMILY,)}
SISTER = {"key": "sister12", "bounds": (FAMILY,)}


def test_keys_that_were_made_with_one_share_its_bound():
    scene = play()
    scene.request(1, A, **SISTER)
    brought(scene, "a")
    denied = scene.request(2, B, **SUB)
    assert code_of(denied) is RefusalCode.OVER_QUOTA
    said = next(effect.refusal.detail for effect in denied if isinstance(effect, Deny))
    assert "it holds: nothing, and keys that share its quota 6144 MB" in said
    assert "a (" not in said, "what others have is not for it to see"
    scene.request(3, C, **SUB)
    assert mine(scene) == {"c": 4}
    assert not consistent(scene.scheduler.state)


def test_what_one_of_them_has_brought_another_may_lease_within_its_own_bound():
    scene = play()
    scene.request(1, A, **SISTER)
    brought(scene, "a")
    leased = {"hold": LeaseKind.OWNER, "owner": "me", "lease_s": 60.0}
    assert granted(scene.request(2, A, **leased, **SUB))
    narrow = {"key": "mine1234", "bounds": (KeyBound(5 * GiB, MINE), FAMILY)}
    scene = play()
    scene.request(1, A, **SISTER)
    brought(scene, "a")
    assert code_of(scene.request(2, A, **leased, **narrow)) is RefusalCode.OVER_QUOTA


def test_the_tightest_bound_counts():
    state = play().scheduler.state
    own, shared = KeyBound(8 * GiB, MINE), KeyBound(6 * GiB, FAMILY.keys)
    assert quota_of(state, "mine1234", (own, shared)).limit_bytes == 6 * GiB
    assert quota_of(state, "mine1234", ()) is None
    assert quota_of(state, None, (own,)) is None
