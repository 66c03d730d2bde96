"""Holds a draft against what a file of ours must be: a model that is not right is left out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orchestrator.catalogue.predictions import Predictions
from orchestrator.cli.importing.drafts import Draft
from orchestrator.config.loading import load_config
from orchestrator.config.models import Estimate
from orchestrator.errors import ConfigInvalid
from orchestrator.gguf.headers import Headers

ROUNDS_MAX = 8  # leaving one out may leave a chain without its model


def made_right(draft: Draft) -> None:
    """Leave out of the draft what `config check` would refuse, and note why. Never raises."""
    estimate = Predictions(Headers()).footprint
    for _ in range(ROUNDS_MAX):
        wrong = _mistakes(draft, estimate)
        if not wrong:
            return
        named = {name: text for text in wrong if (name := _model_in(text, draft)) is not None}
        if not named:
            for text in wrong:
                draft.note(f"the configuration is not right: {text}")
            return
        for name, text in named.items():
            del draft.models[name]
            draft.note(f"is left out: {text.partition(f' models.{name}')[2].lstrip('.: ')}", name)
        used = {model.keys.get("service") for model in draft.models.values()}
        draft.services = {name: keys for name, keys in draft.services.items() if name in used}
        draft.chains = {
            chain: kept
            for chain, members in draft.chains.items()
            if (kept := [member for member in members if member in draft.models])
        }


def _mistakes(draft: Draft, estimate: Estimate) -> tuple[str, ...]:
    environ = os.environ  # noqa: TID251 - what variables in its paths and commands mean
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orchestrator.yaml"
        path.write_text(draft.text())
        try:
            load_config(path, environ=environ, estimate=estimate)
        except ConfigInvalid as error:
            return error.mistakes
    return ()


def _model_in(text: str, draft: Draft) -> str | None:
    fitting = (n for n in draft.models if f" models.{n}." in text or f" models.{n}:" in text)
    return max(fitting, key=len, default=None)
