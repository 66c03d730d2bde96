"""What a profile's name stands for: the settings the product ships with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.core.values.specs import Profile, Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSettings:
    threads: int
    batch: int
    context_size: int
    max_tokens: int


PROFILES: Mapping[Profile, ProfileSettings] = {
    Profile.FAST: ProfileSettings(threads=4, batch=256, context_size=2048, max_tokens=512),
    Profile.BALANCED: ProfileSettings(threads=6, batch=512, context_size=4096, max_tokens=1024),
    Profile.QUALITY: ProfileSettings(threads=8, batch=512, context_size=8192, max_tokens=2048),
    Profile.MEMORY: ProfileSettings(threads=4, batch=128, context_size=2048, max_tokens=512),
    Profile.BATCH: ProfileSettings(threads=8, batch=1024, context_size=4096, max_tokens=1024),
}


def with_profile(serving: Serving, profile: Profile, *, physical_cores: int) -> Serving:
    """The serving settings with those of the profile in their place.

    A profile's threads are those of a large machine: more threads than cores only slow it down.
    """
    settings = PROFILES[profile]
    return replace(
        serving,
        threads=min(settings.threads, physical_cores),
        batch=settings.batch,
        ubatch=min(serving.ubatch, settings.batch),
        context_size=settings.context_size,
        max_tokens=settings.max_tokens,
    )
