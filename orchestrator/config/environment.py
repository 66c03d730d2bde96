"""Variables of the environment in paths of the file: ${NAME}, or ${NAME:-otherwise}.

In paths and nowhere else: where things lie is what differs between a machine and its containers.
"""

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def filled(path: str, environ: Mapping[str, str]) -> str:
    """The path with the values of its variables; one without a value stays as it is written."""
    return _VARIABLE.sub(lambda each: environ.get(each[1]) or each[2] or each[0], path)


def unset(path: str, environ: Mapping[str, str]) -> list[str]:
    """The variables that have neither a value nor an `otherwise`. An empty value is none."""
    return [each[1] for each in _VARIABLE.finditer(path) if not (environ.get(each[1]) or each[2])]
