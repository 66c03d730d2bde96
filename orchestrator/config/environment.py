"""Variables of the environment in paths and commands: ${NAME}, or ${NAME:-otherwise}.

There and nowhere else: where things lie is what differs between a machine and its containers.
"""

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def filled(path: str, environ: Mapping[str, str]) -> str:
    """The path with the values of its variables; one without a value stays as it is written."""
    return _VARIABLE.sub(lambda name: environ.get(name[1]) or name[2] or name[0], path)


def unset(path: str, environ: Mapping[str, str]) -> list[str]:
    """The variables that have neither a value nor an `otherwise`. An empty value is none."""
    return [name[1] for name in _VARIABLE.finditer(path) if not (environ.get(name[1]) or name[2])]


def variables(text: str) -> list[str]:
    """The names of all that are written in a text, with a value or without."""
    return [name[1] for name in _VARIABLE.finditer(text)]
