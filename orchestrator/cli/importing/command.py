"""The words `import` and `init`: a configuration of ours, and what was thought of in making it."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.cli.importing import llama_swap, ollama
from orchestrator.cli.importing.checking import made_right
from orchestrator.cli.importing.drafts import Draft, Note
from orchestrator.cli.importing.equipment import looked_at
from orchestrator.cli.importing.initial import Initial
from orchestrator.cli.importing.llama_swap import NotRead
from orchestrator.cli.importing.usual_places import models, places
from orchestrator.cli.screen import complain, say, say_exactly

DONE, FAILED = 0, 1
NAMES_SHOWN_MAX = 3  # of models about which the same is said


def import_configuration(words: Namespace) -> int:
    environ = dict(os.environ)  # noqa: TID251 - its macros name variables
    try:
        if words.kind == "llama-swap":
            content = llama_swap.read_file(words.file)
            draft = llama_swap.imported(content, words.file.absolute().parent, environ)
        else:
            draft = ollama.imported(words.folder, environ)
    except NotRead as error:
        complain(str(error))
        return FAILED
    return shown(draft)


def init(words: Namespace) -> int:
    """Look at the machine, and write a configuration that works. Say what was chosen, and why."""
    path: Path = words.file
    if path.exists() and not words.force:
        complain(f"{path} exists: --force overwrites it, or name another FILE.")
        return FAILED
    environ = dict(os.environ)  # noqa: TID251 - it names places
    equipment = looked_at()
    found = models(places(environ, words.models or ()))
    store = None
    with suppress(NotRead):
        store = ollama.store_of(None, environ)
    initial = Initial(equipment, found, ollama=store is not None)
    if store is not None and ollama.put_models(initial.draft, store):
        initial.sentences.append("Ollama's models are used where they lie, in its store.")
    made_right(initial.draft)
    initial.complete()
    try:
        path.write_text(initial.draft.text())
    except OSError as error:
        complain(f"{path} cannot be written: {error.strerror or error}.")
        return FAILED
    say(*initial.sentences)
    for name, model in initial.draft.models.items():
        say(f"Model {name}: {model.keys['file']}")
    complain(*_grouped(initial.draft.notes))
    say(f"Written to {path}. Next: orchestrator serve --config {path}")
    return DONE


def _grouped(notes: Sequence[Note]) -> Iterator[str]:
    """One line for each sentence, with the models that it is about."""
    models: dict[str, list[str | None]] = {}
    for note in notes:
        models.setdefault(note.sentence, []).append(note.model)
    for sentence, about in models.items():
        names = list(dict.fromkeys(name for name in about if name is not None))
        more = f" and {len(names) - NAMES_SHOWN_MAX} more" if len(names) > NAMES_SHOWN_MAX else ""
        who = f"{', '.join(names[:NAMES_SHOWN_MAX])}{more}: " if names else ""
        yield f"{who}{sentence}"


def shown(draft: Draft) -> int:
    made_right(draft)
    say_exactly(draft.text())
    complain(*_grouped(draft.notes))
    count = len(draft.models)
    complain(f"Models: {count}. `orchestrator config check FILE` says what is not right there.")
    return DONE if count else FAILED
