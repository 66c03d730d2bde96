"""Model files in the places where other programs keep them, found as the daemon finds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.catalogue.found.finds import Find, finds
from orchestrator.catalogue.found.seen import ModelPlace, PlaceKind
from orchestrator.catalogue.found.sets import file_sets, with_header
from orchestrator.catalogue.found.sweeping import sweep
from orchestrator.gguf.reader import read_header
from orchestrator.hub import access_from

FINDS_MAX = 64  # in all: a longer list is read by nobody

# Beside what the environment names: models' own folders, llama.cpp's, LM Studio's, GPT4All's.
PLACES = (
    "models",
    "~/models",
    "~/.cache/llama.cpp",
    "~/.lmstudio/models",
    "~/.cache/lm-studio/models",
    "~/.local/share/nomic.ai/GPT4All",
    "/models",
    "/srv/models",
)


def places(environ: Mapping[str, str], more: Iterable[Path] = ()) -> tuple[ModelPlace, ...]:
    """Those that are there, in the order in which they are looked at, none twice."""
    home = environ.get("HOME", "")
    named = [Path(environ["MODELS_DIR"])] if environ.get("MODELS_DIR") else []
    usual = [Path(place.replace("~", home, 1)) for place in PLACES if home or place[0] != "~"]
    folders = [ModelPlace(PlaceKind.FOLDER, each.absolute()) for each in (*more, *named, *usual)]
    wanted = [*folders, ModelPlace(PlaceKind.HUGGING_FACE, hub_folder(environ))]
    return tuple(dict.fromkeys(place for place in wanted if place.path.is_dir()))


def hub_folder(environ: Mapping[str, str]) -> Path:
    return (access_from(environ).home / "hub").absolute()


def models(places: Iterable[ModelPlace]) -> tuple[Find, ...]:
    """Every one, once. Never raises: what cannot be read has none."""
    sets = [with_header(of, read_header) for of in file_sets(sweep(places).files)]
    return finds(sets)[:FINDS_MAX]
