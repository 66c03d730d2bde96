"""The words `add` and `remove`: models that come and go while the daemon runs.

A model is added as it would be found: settings by its header. What it takes and whether that fits
here is told before anything is downloaded.
"""
# ruff: noqa: PLC0415 - what is slow to import is imported by the word that needs it

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrator.cli import render
from orchestrator.cli.client import NotReached, RefusedByDaemon, Remote
from orchestrator.cli.commands import DONE, FAILED, WAIT_S
from orchestrator.cli.screen import complain, say, waiting

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Mapping

    from orchestrator.cli.client import Json
    from orchestrator.cli.screen import Part

SIZED_S = 120.0  # until the first megabytes of a model on a hub have told what it takes

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$", re.IGNORECASE)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="FILE|ORG/REPO[:QUANT]", help="a GGUF file here, or a model of a hub"
    )
    parser.add_argument("--as", dest="name", metavar="NAME", help="else called after its file")
    parser.add_argument("--context", type=int, metavar="N", help="else as trained, within reason")
    parser.add_argument("--mmproj", type=Path, metavar="F", help="else the one beside the file")
    parser.add_argument("--service", help="which runs it; else the first that can")
    parser.add_argument("--anyway", action="store_true", help="also if it does not fit")


def remove_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name or alias of a model that was added")
    parser.add_argument("--force", action="store_true", help="also in use or pinned")


class NotAddable(Exception):
    """A sentence or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    name: str
    file: str
    mmproj: str | None = None
    on_hub: bool = False

    @property
    def path(self) -> str:
        return f"/models/{quote(self.name, safe='')}"

    def body(self, words: Namespace) -> Json:
        said = {"file": self.file, "mmproj": self.mmproj, "service": words.service}
        said["context_size"] = words.context
        return {key: value for key, value in said.items() if value is not None}


def add(remote: Remote, words: Namespace) -> int:
    try:
        wanted = on_hub(words) or here(words)
    except NotAddable as error:
        complain(*map(str, error.args))
        return FAILED
    itself: Any = remote.ask("GET", "/admin/daemon").body
    if not wanted.on_hub:
        _let_it_be_read(wanted, itself)
    new = not _was_added(remote, wanted)
    kept = False
    try:
        body = _with_settings(remote, wanted, words, itself)
        fits, lines = _told(remote, wanted, words)
        say(*lines)
        kept = fits or words.anyway
        if kept and wanted.on_hub:
            kept = False
            _bring(remote, wanted)
            remote.ask("PUT", wanted.path, body)
            kept = True
    finally:
        if new and not kept:
            with suppress(RefusedByDaemon, NotReached):
                remote.ask("DELETE", wanted.path)
    if not kept:
        return FAILED
    say(f"{wanted.name} is in the catalogue. `orchestrator run {wanted.name}` chats with it.")
    return DONE


def remove(remote: Remote, words: Namespace) -> int:
    """It is unloaded first. Its file stays where it is."""
    model: Any = remote.ask("GET", f"/models/{quote(words.name, safe='')}").body
    name = model["id"]
    if model["resident"] is not None and not model["found"]:
        order = {"model": name, "force": words.force}
        remote.ask("POST", "/models/unload", order, timeout_s=WAIT_S)
    remote.ask("DELETE", f"/models/{quote(name, safe='')}")
    say(f"{name} is removed. Its file stays.")
    return DONE


# --- what is meant ---------------------------------------------------------------------------


def on_hub(words: Namespace) -> Addition | None:
    """None: it is a file here."""
    from orchestrator.config.paths import Misplaced
    from orchestrator.config.paths import on_a_hub as written_so
    from orchestrator.gateway.ollama.pulls import catalogue_name
    from orchestrator.hub import parse

    what = words.what
    if Path(what).expanduser().exists():
        return None
    try:
        if not written_so(what):
            return None
    except Misplaced as error:
        raise NotAddable(f"{what} {error}.") from error
    name = words.name or catalogue_name(what, parse(what))
    return Addition(name=name, file=what, on_hub=True)


def here(words: Namespace) -> Addition:
    """Raise NotAddable."""
    from orchestrator.catalogue.found.finds import Find, finds
    from orchestrator.catalogue.found.seen import ModelPlace, PlaceKind
    from orchestrator.catalogue.found.sets import file_sets, with_header
    from orchestrator.catalogue.found.sweeping import sweep
    from orchestrator.gguf.reader import read_header
    from orchestrator.hub.references import is_projector

    path = Path(words.what).expanduser().absolute()
    if path.is_dir():
        raise NotAddable(
            f"{path} is a folder.",
            f"`orchestrator serve {words.what}` has every GGUF in it be a model; so does "
            "`discovery.folders` of the configuration.",
        )
    if not path.exists():
        raise NotAddable(*_not_there(path, words.what))
    first = path.with_name(_PART.sub(r"-00001-of-\1.gguf", path.name))
    seen = sweep([ModelPlace(PlaceKind.FOLDER, path.parent)], depth=0).files
    beside = [file for file in seen if file.path == path or _belongs(file.path, first)]
    beside += [file for file in seen if is_projector(file.path.name) and file not in beside]
    found: dict[Path, Find] = {
        find.path: find
        for find in finds([with_header(of, read_header) for of in file_sets(beside)])
    }
    find = found.get(first)
    if find is None:
        raise NotAddable(f"{path} is no model: a projector, an adapter, or not called *.gguf.")
    if find.files.problem is not None:
        raise NotAddable(f"{find.path} {find.files.problem}.")
    mmproj = words.mmproj.expanduser().absolute() if words.mmproj else find.projector
    return Addition(
        name=words.name or find.name,
        file=str(first),
        mmproj=None if mmproj is None else str(mmproj),
    )


def _belongs(path: Path, first: Path) -> bool:
    part = _PART.search(path.name)
    return part is not None and _PART.sub(r"-00001-of-\1.gguf", path.name) == first.name


def _not_there(path: Path, what: str) -> Iterator[str]:
    yield f"There is no file {path}."
    with suppress(OSError):
        names = [each.name for each in path.parent.iterdir() if each.suffix.lower() == ".gguf"]
        if near := get_close_matches(path.name, names, n=1):
            yield f"Did you mean {path.with_name(near[0])}?"
            return
    if "/" in what and not what.startswith(("/", ".", "~")):
        yield f"A model of a hub is written {what}:Q4_K_M, with its quantization or its file."


def _let_it_be_read(wanted: Addition, itself: Mapping[str, Any]) -> None:
    """The daemon reads files where its operator says, not a caller: writing there proves one."""
    from orchestrator.config.allowed import allow

    files = [Path(file) for file in (wanted.file, wanted.mmproj) if file is not None]
    if all(any(file.is_relative_to(folder) for folder in itself["folders"]) for file in files):
        return
    with suppress(OSError):  # another user's: the daemon says which files it reads
        allow(Path(itself["state_dir"]), files)


# --- what the daemon says of it --------------------------------------------------------------


def _was_added(remote: Remote, wanted: Addition) -> bool:
    try:
        return not remote.ask("GET", wanted.path).body["found"]
    except RefusedByDaemon as refused:
        if refused.status != 404:
            raise
        return False


def _with_settings(
    remote: Remote, wanted: Addition, words: Namespace, itself: Mapping[str, Any]
) -> Json:
    """Put into the catalogue, as it would be if it had been found. Return what was put."""
    from orchestrator.catalogue.found.specs import CONTEXT_MAX

    body = wanted.body(words)
    # What /api/show calls its context is at most what it is served with.
    _sized(remote, wanted, {"context_size": CONTEXT_MAX, **body})
    told: Any = remote.ask("POST", "/api/show", {"model": wanted.name}).body
    model: Any = remote.ask("GET", wanted.path).body
    body |= settings(
        told.get("model_info") or {}, itself["services"].get(model["service"]), words.context
    )
    _sized(remote, wanted, body)
    return body


def _sized(remote: Remote, wanted: Addition, body: Json) -> None:
    """Put, and the size known: of a file on a hub its first megabytes tell."""
    remote.ask("PUT", wanted.path, body)
    with waiting(_looking(wanted)):
        remote.ask("POST", "/models/estimate", {"model": wanted.name}, timeout_s=SIZED_S)


def settings(info: Mapping[str, Any], engine: str | None, context: int | None) -> Json:
    """By what the header says, as /api/show tells it."""
    from orchestrator.catalogue.found.specs import by_header

    kind = str(info.get("general.architecture"))
    trained, pools = info.get(f"{kind}.context_length"), info.get(f"{kind}.pooling_type")
    found = by_header(
        kind,
        trained if isinstance(trained, int) else None,
        pools if isinstance(pools, int) else None,
        on_processor=engine == "xllamacpp",
        context=context,
    )
    return {key: value for key, value in found.items() if value is not None}


def _looking(wanted: Addition) -> Iterator[str]:
    while True:
        yield f"looking at {wanted.file}"


def _told(remote: Remote, wanted: Addition, words: Namespace) -> tuple[bool, list[Part]]:
    """Whether it fits, and what there is to say of that."""
    plan: Any = remote.ask("POST", "/models/plan", {"model": wanted.name}).body
    refusal = plan["refusal"]
    if refusal is None or refusal["code"] != "does_not_fit":
        model: Any = remote.ask("GET", wanted.path).body
        need = render.needs(model["vram_mb"], model["host_mb"])
        return True, [f"{wanted.name} needs {need}, {render.size(plan['available_mb'])} available."]
    lines: list[Part] = [*render.plan_lines(plan)]
    for change in plan["suggestions"]:
        if "context_size" in change:
            less = f"orchestrator add {words.what} --context {change['context_size']}"
            lines.append(f"It fits so: {less}")
    return False, lines


def _bring(remote: Remote, wanted: Addition) -> None:
    """By the daemon, into the cache that it reads. Raise RefusedByDaemon."""
    last: list[str] = [f"asking for {wanted.file}"]

    def words() -> Iterator[str]:
        while True:
            yield last[-1]

    with waiting(words()):
        for line in remote.streamed("/api/pull", {"model": wanted.name}):
            if "error" in line:
                raise RefusedByDaemon(502, {"detail": line["error"]}, str(line))
            last[-1] = _progress(line)


def _progress(line: Json) -> str:
    total, done = line.get("total"), line.get("completed")
    said = str(line.get("status", ""))
    if isinstance(total, int) and isinstance(done, int) and total:
        return f"{said} {done / 1e9:.2f} of {total / 1e9:.2f} GB, {done * 100 // total} %"
    return said
