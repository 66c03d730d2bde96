"""The word `connect`: lists clients, shows the settings of one, or writes them."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from orchestrator.cli.client import (
    URL_DEFAULT,
    KeyFileUnreadable,
    NotReached,
    RefusedByDaemon,
    Remote,
    UrlInvalid,
    key_from,
)
from orchestrator.cli.connect import files, recipes
from orchestrator.cli.connect.arguments import API_KEY_FILE, URL
from orchestrator.cli.connect.merging import NotMerged
from orchestrator.cli.connect.target import (
    PLACEHOLDER,
    KeyInvalid,
    ModelUnknown,
    Target,
    checked_key,
    pointed,
)
from orchestrator.cli.screen import complain, say, say_exactly, table

DONE, FAILED, MISUSED = 0, 1, 2
LOOK_S = 3.0  # for a daemon that may not be there


def connect(words: Namespace) -> int:
    environ = os.environ  # noqa: TID251 - the command line is where settings come in
    if words.client is None:
        rows = [(kind.name, kind.title, kind.keeps) for kind in recipes.KINDS]
        say(table(("", "client", "settings are in"), rows))
        return DONE
    kind = recipes.found(words.client)
    if kind is None:
        known = ", ".join(each.name for each in recipes.KINDS)
        complain(f"No client is called {words.client!r}.", f"There are: {known}.")
        return MISUSED
    try:
        target = _target(words, environ)
    except (UrlInvalid, KeyInvalid, KeyFileUnreadable) as error:
        complain(str(error))
        return MISUSED
    except (ModelUnknown, NotReached) as error:
        complain(str(error), *([error.remedy] if isinstance(error, NotReached) else []))
        return FAILED
    recipe = kind.recipe(target, environ)
    if words.file is not None and recipe.file is not None:
        recipe = replace(recipe, file=words.file)
    return _written(kind, recipe, target) if words.write else _shown(kind, recipe)


def _target(words: Namespace, environ: Mapping[str, str]) -> Target:
    """Raise UrlInvalid, KeyInvalid, KeyFileUnreadable, ModelUnknown, or NotReached where
    something else answers.
    """
    here = environ.get(URL, "").strip() or URL_DEFAULT
    url = words.url or here
    chosen = {API_KEY_FILE: words.key_file} if words.key_file else environ
    key = checked_key(key_from(chosen))
    return pointed(url, key, words.model, _catalogue([url, here], key))


def _catalogue(urls: Sequence[str], key: str | None) -> list[Mapping[str, Any]] | None:
    """Of the first one that answers; None where no daemon tells. Raise UrlInvalid or NotReached.

    An address that is good for a client, such as one inside a container, need not be good here.
    """
    for remote in [Remote(url, key) for url in dict.fromkeys(urls)]:
        try:
            data = remote.ask("GET", "/v1/models", timeout_s=LOOK_S).body.get("data")
        except (NotReached, RefusedByDaemon) as error:
            complain(str(error))
            continue
        if not isinstance(data, list):
            raise NotReached(f"{remote.url} is not VRAM Orchestrator.", "Check the URL.")
        if remote.url != urls[0]:
            complain(f"Names of models are those of {remote.url}.")
        return [entry for entry in data if isinstance(entry, dict) and "id" in entry]
    complain("Names of models are not checked.")
    return None


def _shown(kind: recipes.ClientKind, recipe: recipes.Recipe) -> int:
    """The settings alone on stdout, so that they can be put into a file."""
    if recipe.file is not None:
        complain(f"{kind.title} reads this from {recipe.file}; --write puts it there:")
    say_exactly(recipe.text)
    complain(*recipe.steps, f"Documented at {kind.source}")
    return DONE


def _written(kind: recipes.ClientKind, recipe: recipes.Recipe, target: Target) -> int:
    if recipe.file is None or recipe.merge is None:
        complain(f"{kind.title} keeps its settings where only it can write: enter them there.")
        say_exactly(recipe.text)
        return FAILED
    if recipe.needs_model and target.model is None:
        complain(f"Nobody says which model {kind.title} should name.", "Name one with --model.")
        return FAILED
    now = datetime.now().astimezone()
    try:
        written = files.write(recipe.file, recipe.merge, now)
    except NotMerged as error:
        complain(f"{recipe.file} was left as it is: {error}.", "Put this into it by hand:")
        say_exactly(recipe.text)
        return FAILED
    except OSError as error:
        complain(f"{recipe.file} cannot be written: {error.strerror or error}.")
        return FAILED
    say(*_told(written, target), *recipe.steps)
    return DONE


def _told(written: files.FileWritten, target: Target) -> list[str]:
    if not written.changed:
        return [f"{written.path} says so already."]
    kept = [] if written.backup is None else [f"What it was is kept in {written.backup}."]
    names = "" if target.model in (None, PLACEHOLDER) else f", with {target.model}"
    return [f"{written.path} leads to {target.url} now{names}.", *kept]
