"""What a profile's name stands for: the settings the product ships with, and the operator's own."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from orchestrator.core.values.specs import Profile, Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSettings:
    """None is not spoken of: the model's own, or the default."""

    threads: int | None = None
    batch: int | None = None
    context_size: int | None = None
    max_tokens: int | None = None


Profiles = Mapping[str, ProfileSettings]

PROFILES: Profiles = {
    Profile.FAST: ProfileSettings(threads=4, batch=256, context_size=2048, max_tokens=512),
    Profile.BALANCED: ProfileSettings(threads=6, batch=512, context_size=4096, max_tokens=1024),
    Profile.QUALITY: ProfileSettings(threads=8, batch=512, context_size=8192, max_tokens=2048),
    Profile.MEMORY: ProfileSettings(threads=4, batch=128, context_size=2048, max_tokens=512),
    Profile.BATCH: ProfileSettings(threads=8, batch=1024, context_size=4096, max_tokens=1024),
}


def with_own(own: Profiles) -> Profiles:
    """Those that ship, and the operator's beside them; of one name, what the operator says wins."""
    return {**PROFILES, **{name: _over(PROFILES.get(name), said) for name, said in own.items()}}


def _over(shipped: ProfileSettings | None, said: ProfileSettings) -> ProfileSettings:
    if shipped is None:
        return said
    spoken_of = {
        field.name: value
        for field in fields(said)
        if (value := getattr(said, field.name)) is not None
    }
    return replace(shipped, **spoken_of)


def unknown_profile(name: str, profiles: Profiles) -> str:
    """What is said of a name that is none."""
    return f"{name!r} is no profile; there are {', '.join(profiles)}"


def with_profile(
    serving: Serving, profile: str, *, physical_cores: int, profiles: Profiles = PROFILES
) -> Serving:
    """The serving settings with those of the profile in their place.

    A profile's threads are those of a large machine: more threads than cores only slow it down.
    """
    settings = profiles[profile]
    batch = settings.batch or serving.batch
    return replace(
        serving,
        threads=min(settings.threads, physical_cores) if settings.threads else serving.threads,
        batch=batch,
        ubatch=min(serving.ubatch, batch),
        context_size=settings.context_size or serving.context_size,
        max_tokens=settings.max_tokens or serving.max_tokens,
    )
