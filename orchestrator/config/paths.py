"""Where a model's files may lie: under the roots of its service, links followed, and nowhere else.

Whether a file exists is not asked here: it may come later, and the engine looks before it starts.
"""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.hub.failures import PullFailed
from orchestrator.hub.references import NAMES, parse

PACKAGE = "package:"  # package:NAME/FILE.gguf is a file inside an installed Python package
_PACKAGE_FILE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)/(.+\.gguf)")
_ON_A_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?(:.+)?")
# A repository that says so; what else has a slash is a path.
_ONLY_ONE = re.compile(r".+[-_]gguf(@[\w./-]+)?", re.IGNORECASE)


class Misplaced(Exception):
    """The file may not be used; the text is a sentence without its subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    models_dir: Path | None
    others: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        return (*(() if self.models_dir is None else (self.models_dir,)), *self.others)


def on_a_hub(file: str, *, brought: bool = False) -> bool:
    """Whether it is written as a file of a model hub: ORG/REPO:FILE.gguf, ORG/REPO:Q4_K_M,
    ORG/REPO-GGUF for its only one or its Q4_K_M one, or a name that `orchestrator pull` knows.
    What is to be `brought` from there is, also by ORG/REPO alone.

    Raise Misplaced if it is, and no file of a hub can be called so.
    """
    written = _ON_A_HUB.fullmatch(file)
    alone = _ONLY_ONE.fullmatch(file) or (brought and not file.endswith(".gguf"))
    named = written is not None and (written[2] or alone)
    if file not in NAMES and not named:
        return False
    try:
        parse(file)
    except PullFailed as failed:
        raise Misplaced(f"names no file of a model hub: {failed.remedy}") from failed
    return True


def locate(file: str, roots: Roots) -> str:
    """The absolute path that a server is given. Raise Misplaced if it lies outside the roots.

    Links are followed to decide, and stay in the path: in a cache, only links have a file's name.
    """
    if ".." in Path(file).parts:
        raise Misplaced("must not contain `..`")
    if file.startswith(PACKAGE):
        return _in_package(file)
    path = Path(file)
    if path.is_absolute():
        if not roots.all:
            raise Misplaced(
                "is absolute: add its folder to the service's allowed_roots, or type "
                f"`orchestrator add {path}`"
            )
    elif roots.models_dir is None:
        raise Misplaced("is relative: add models_dir to the service")
    else:
        path = roots.models_dir / path
    return _inside(path, roots.all)


def _in_package(file: str) -> str:
    match = _PACKAGE_FILE.fullmatch(file.removeprefix(PACKAGE))
    if match is None:
        raise Misplaced(f"must be {PACKAGE}NAME/FILE.gguf")
    name, rest = match.groups()
    try:
        found = importlib.util.find_spec(name)  # of a top-level name: nothing is imported
    except ValueError:  # a module that was made by hand
        found = None
    if found is None or not found.submodule_search_locations:
        wheel = name.replace("_", "-")
        raise Misplaced(f"needs the Python package {wheel}: pip install --no-deps {wheel}")
    folder = Path(next(iter(found.submodule_search_locations)))
    return _inside(folder / rest, (folder,))


def _inside(path: Path, roots: tuple[Path, ...]) -> str:
    try:
        real = Path(os.path.realpath(path))
        inside = any(real.is_relative_to(os.path.realpath(root)) for root in roots)
    except (OSError, ValueError) as error:  # a loop of links; a NUL byte
        raise Misplaced(f"cannot be followed: {error}") from error
    if not inside:
        listed = " and ".join(str(root) for root in roots)
        led = "" if real == path else f" (it leads to {real})"
        raise Misplaced(f"lies outside {listed}{led}")
    return str(path)


def last_changed(path: Path) -> float | None:
    """Wall time; None if there is no such file. A mount may show an older one than its editor."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
