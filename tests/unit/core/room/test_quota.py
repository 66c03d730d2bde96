from orchestrator.core.room.quota import Quota, over_quota
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import GiB

HELD = {ModelName("a"): 3 * GiB, ModelName("b"): 4 * GiB}


def test_what_is_held_is_not_left():
    assert Quota(10 * GiB, HELD).left_bytes == 3 * GiB
    assert Quota(10 * GiB).left_bytes == 10 * GiB


def test_refusal_names_what_the_key_holds_and_what_helps():
    refusal = over_quota(ModelName("c"), 4 * GiB, Quota(10 * GiB, HELD))
    assert refusal.code is RefusalCode.OVER_QUOTA
    assert refusal.detail.endswith("it holds: b (4096 MB), a (3072 MB).")
    assert refusal.remedy.startswith("Unload what it holds")
    assert (refusal.needed_bytes, refusal.available_bytes) == (4 * GiB, 3 * GiB)
    assert refusal.lasting


def test_model_that_never_fits_the_quota_is_told_so():
    refusal = over_quota(ModelName("c"), 11 * GiB, Quota(10 * GiB, HELD))
    assert refusal.remedy == "An admin can make a key with more."
