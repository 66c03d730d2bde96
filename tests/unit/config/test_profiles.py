import pytest

from orchestrator.config.profiles import PROFILES, ProfileSettings, with_own, with_profile
from orchestrator.core.values.specs import Profile, Serving


@pytest.mark.parametrize(
    ("profile", "threads", "batch", "context", "max_tokens"),
    [
        (Profile.FAST, 4, 256, 2048, 512),
        (Profile.BALANCED, 6, 512, 4096, 1024),
        (Profile.QUALITY, 8, 512, 8192, 2048),
        (Profile.MEMORY, 4, 128, 2048, 512),
        (Profile.BATCH, 8, 1024, 4096, 1024),
    ],
)
def test_the_settings_the_product_ships_with(profile, threads, batch, context, max_tokens):
    serving = with_profile(Serving(), profile, physical_cores=16)
    assert (serving.threads, serving.batch, serving.context_size, serving.max_tokens) == (
        threads,
        batch,
        context,
        max_tokens,
    )


def test_every_profile_has_settings():
    assert set(PROFILES) == set(Profile)


def test_no_more_threads_than_cores():
    assert with_profile(Serving(), Profile.QUALITY, physical_cores=2).threads == 2


def test_the_small_batch_is_never_larger_than_the_batch():
    assert with_profile(Serving(ubatch=512), Profile.MEMORY, physical_cores=8).ubatch == 128


def test_what_a_profile_does_not_speak_of_stays():
    serving = with_profile(Serving(slots=3, cache_type_k="q8_0"), Profile.FAST, physical_cores=8)
    assert (serving.slots, serving.cache_type_k) == (3, "q8_0")


def test_own_profiles_stand_beside_those_that_ship_and_over_them():
    own = {"long": ProfileSettings(context_size=65536), "fast": ProfileSettings(context_size=4096)}
    profiles = with_own(own)
    assert list(profiles) == [*PROFILES, "long"]
    assert profiles["fast"] == ProfileSettings(
        threads=4, batch=256, context_size=4096, max_tokens=512
    ), "what is not said is that of the one that ships"
    serving = with_profile(Serving(batch=777), "long", physical_cores=8, profiles=profiles)
    assert (serving.context_size, serving.batch, serving.threads) == (65536, 777, None)
