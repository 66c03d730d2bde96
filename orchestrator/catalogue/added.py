"""The models that were put through the API: a file of their own in the state directory."""

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.config.bodies import kept_model
from orchestrator.config.loading import Config
from orchestrator.config.models import Estimate
from orchestrator.config.yaml_lines import Plain
from orchestrator.core.values.specs import ModelSpecs
from orchestrator.errors import ConfigInvalid, RegistryFailed

ADDED_FILE = "models.json"

Body = Mapping[str, Plain]  # what the configuration takes under `models`


def read_added(state_dir: Path) -> dict[str, Body]:
    """Raise ConfigInvalid where the file is damaged."""
    path = state_dir / ADDED_FILE
    try:
        added = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        remedy = "mend it or move it away"
        raise ConfigInvalid((f"{path}: cannot be read: {error}; {remedy}",)) from error
    if not isinstance(added, dict) or not all(isinstance(body, dict) for body in added.values()):
        raise ConfigInvalid((f"{path}: must map names to models; mend it or move it away",))
    return added


def check_added(config: Config, estimate: Estimate) -> int | None:
    """How many there are; None where this user may not read them.

    Raise ConfigInvalid that names every one that is not right beside the configuration.
    """
    try:
        added = read_added(config.state_dir)
    except ConfigInvalid as error:
        if isinstance(error.__cause__, PermissionError):
            return None
        raise
    kept_in, specs = config.state_dir / ADDED_FILE, dict(config.catalogue)
    for name, body in added.items():
        spec = kept_model(config, name, body, kept_in=kept_in, taken=specs, estimate=estimate)
        specs[spec.name] = spec
    require_all_right(specs)
    return len(added)


def require_all_right(specs: ModelSpecs) -> None:
    """Raise ConfigInvalid that names every model that stands as failed, and what would help."""
    failures = [spec.failed for spec in specs.values() if spec.failed is not None]
    if failures:
        raise ConfigInvalid(tuple(f"{each.detail} {each.remedy}" for each in failures))


def write_added(state_dir: Path, added: Mapping[str, Body]) -> None:
    """Whole or not at all. Raise RegistryFailed if the disk refuses."""
    path = state_dir / ADDED_FILE
    draft = path.with_suffix(f".{uuid.uuid4().hex}.tmp")  # a write that was given up may go on
    try:
        with draft.open("w") as file:
            json.dump(added, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise RegistryFailed(f"{path} could not be written: {error.strerror}") from error
