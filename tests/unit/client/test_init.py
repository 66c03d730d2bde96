"""What `orchestrator.client` promises. A line that changes here is a change for its users: it
stands in CHANGELOG.md, and a line that goes needs a new version that says so.
"""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, is_typeddict

from orchestrator import client

PROMISED = Path(__file__).with_name("promised.txt")


def shown(name: str, value: Any) -> list[str]:
    """A line for a function, and for a class one more for all that it has and is no secret."""
    if is_typeddict(value):
        return [f"{name}: {', '.join(value.__annotations__)}"]
    if dataclasses.is_dataclass(value):
        fields = ", ".join(field.name for field in dataclasses.fields(value))
        return [f"{name}({fields})", *members(name, value)]
    if not isinstance(value, type):
        return [f"{name}{parameters(value)}" if inspect.isfunction(value) else name]
    if issubclass(value, str):
        return [f"{name}: {', '.join(value)}"]
    if issubclass(value, Exception):
        return [f"{name}({value.__base__.__name__})", *members(name, value)]
    return [f"{name}{parameters(value)}", *members(name, value)]


def members(name: str, kind: type) -> list[str]:
    found = inspect.getmembers_static(kind)
    own = [(each, value) for each, value in found if not each.startswith("_")]
    return [
        f"  {name}.{each}{parameters(value)}" if inspect.isfunction(value) else f"  {name}.{each}"
        for each, value in own
        if inspect.isfunction(value) or isinstance(value, property)
    ]


def parameters(value: Any) -> str:
    """Names, kinds and defaults; types are for mypy."""
    bare = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in inspect.signature(value).parameters.values()
        if each.name != "self"
    ]
    return str(inspect.Signature(bare))


def promised() -> str:
    lines = [line for name in client.__all__ for line in shown(name, getattr(client, name))]
    return "\n".join(lines) + "\n"


def test_the_promised_surface_is_as_it_was():
    assert promised() == PROMISED.read_text(), "see the head of this file"


def test_every_name_is_explained():
    kinds = [getattr(client, name) for name in client.__all__]
    assert [each for each in kinds if isinstance(each, type) and not each.__doc__] == []


def test_it_needs_nothing_of_the_daemon():
    """Neither its modules nor what only they need: programs import it where no daemon is."""
    heavy = ["fastapi", "pydantic", "sqlmodel", "docker", "aiohttp", "yaml", "psutil"]
    program = (
        "import sys, orchestrator.client;"
        "print(*[name for name in sys.modules if name.startswith('orchestrator.')"
        " and not name.startswith('orchestrator.client')]);"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
