"""What the start of a daemon tells the person who started it: the address, and what is next."""

from collections.abc import Sequence

from orchestrator.config.sections import ServerSettings

DEFAULT = ServerSettings()
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, not where to ask


def reached_at(host: str, port: int) -> str:
    """The URL by which programs of this machine reach it."""
    name = LOOPBACK.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def first_steps(url: str, models: Sequence[str]) -> list[str]:
    """Lines for a terminal; `models` can be loaded."""
    here = url != reached_at(DEFAULT.host, DEFAULT.port)
    steps = [
        ("orchestrator status", "what is loaded, and how much room there is"),
        _try_one(url, models),
        ("orchestrator connect", "settings that lead your programs here"),
    ]
    width = max(len(typed) for typed, _ in steps)
    return [
        *([f"In other terminals, first:  export ORCHESTRATOR_URL={url}"] if here else []),
        "Next, in another terminal:",
        *(f"  {typed:{width}}  {why}" for typed, why in steps),
    ]


def _try_one(url: str, models: Sequence[str]) -> tuple[str, str]:
    if not models:
        return "orchestrator add FILE.gguf", "or ORG/REPO:Q4_K_M, which is brought from its hub"
    return (
        f"orchestrator run {models[0]}",
        f"chat with it; or have any client of OpenAI's API name it, at {url}/v1",
    )
