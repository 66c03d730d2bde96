"""Models that came through the API: one body each, checked like the file and beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from orchestrator.config.crossings import alias_mistakes, shared_mistakes, unknown_service
from orchestrator.config.loading import Config
from orchestrator.config.models import Estimate, build_spec, declared_only, failed_for, name_mistake
from orchestrator.config.sections import ModelEntry
from orchestrator.config.validation import Schema, properties_at, schema_of, validate
from orchestrator.config.yaml_lines import Mistake, Plain, show
from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, ServiceName
from orchestrator.errors import ConfigInvalid

ONLY_IN_FILE = (
    "url",
    "auto_download",
    "command",
    "env",
    "extra_args",
)  # of a model: not for a caller of the API to say


def parse_model(
    config: Config,
    name: str,
    body: Mapping[str, object],
    *,
    taken: ModelSpecs | None = None,
    estimate: Estimate = declared_only,
) -> ModelSpec:
    """One model that a caller of the API sent. Raise ConfigInvalid with every mistake.

    `taken` is the models that it joins (one of its name is replaced); the config's if None.
    A caller chooses among the services and the files under their roots, nothing beyond: no image,
    command, environment or address of a server.
    """
    parsed = _parsed(config, name, body, config.catalogue if taken is None else taken, estimate)
    if parsed.mistakes or parsed.draft is None:
        raise ConfigInvalid(tuple(parsed.sentences()))
    return parsed.draft


def kept_model(
    config: Config,
    name: str,
    body: Mapping[str, object],
    *,
    kept_in: Path,
    taken: ModelSpecs,
    estimate: Estimate,
) -> ModelSpec:
    """One that was sent earlier and is `kept_in` a file: as failed, if it is not right any more."""
    parsed = _parsed(config, name, body, taken, estimate)
    draft = parsed.draft or ModelSpec(
        name=ModelName(name),
        service=ServiceName(str(body.get("service") or "none")),
        footprint=UNKNOWN,
        settings_ours=False,
    )
    if not parsed.mistakes:
        return draft
    if any(mistake.where[:1] == ("aliases",) for mistake in parsed.mistakes):
        draft = replace(draft, aliases=())
    return failed_for(
        draft,
        (f"{kept_in}: {name}: {sentence}" for sentence in parsed.sentences()),
        FailureReason.MODEL_FILE if parsed.only_of_files else FailureReason.CONFIGURATION,
        f"Mend what is named, send the model anew (PUT /models/{name}), or take it out "
        f"(DELETE /models/{name}).",
    )


@dataclass(frozen=True, slots=True)
class _Parsed:
    draft: ModelSpec | None  # without what is wrong; None: its service is not known
    mistakes: tuple[Mistake, ...]
    only_of_files: bool = False

    def sentences(self) -> Iterator[str]:
        return (f"{show(wrong.where)}: {wrong.sentence}" for wrong in self.mistakes)


def _parsed(
    config: Config,
    name: str,
    body: Mapping[str, object],
    taken: ModelSpecs,
    estimate: Estimate,
) -> _Parsed:
    found = validate(_model(), _numbers_from_text(body))
    complaints = list(found.mistakes)
    entry = found.value
    owners = _owners(taken, name)
    if (sentence := name_mistake(name)) is not None:
        complaints.append(Mistake(("name",), sentence))
    elif name in owners:
        sentence = f"{name} is already an alias of model {owners[name]}"
        complaints.append(Mistake(("name",), sentence))
    if entry is None:
        return _Parsed(None, tuple(complaints))
    entry = replace(entry, service=entry.service or config.home or "")
    crossed = list(alias_mistakes(name, entry.aliases, owners))
    only_in_file = (key for key in ONLY_IN_FILE if body.get(key))
    crossed += [
        Mistake((key,), "can only be set in the configuration file") for key in only_in_file
    ]
    service = config.service(entry.service)
    if service is None:
        crossed.append(Mistake(("service",), unknown_service(entry.service, config.services)))
        complaints += [mistake for mistake in crossed if not found.doubts(mistake.where)]
        return _Parsed(None, tuple(complaints))
    built = build_spec(name, entry, service, estimate, config.profiles)
    same = (other for other in taken.values() if other.service == built.draft.service)
    crossed += shared_mistakes(built.draft, next(same, built.draft), service)
    only_of_files = built.only_of_files and not (complaints or crossed)
    said = {mistake.where for mistake in crossed}
    crossed += [mistake for mistake in built.mistakes if mistake.where not in said]
    complaints += [mistake for mistake in crossed if not found.doubts(mistake.where)]
    return _Parsed(built.draft, tuple(complaints), only_of_files)


@cache
def _model() -> TypeAdapter[ModelEntry]:
    return TypeAdapter(ModelEntry)


def _owners(catalogue: ModelSpecs, name: str) -> dict[str, str]:
    """Which model a name or an alias leads to; without those of the model called `name`."""
    others = [spec for spec in catalogue.values() if spec.name != name]
    return {word: spec.name for spec in others for word in (*spec.aliases, spec.name)}


def _numbers_from_text(body: Mapping[str, object]) -> dict[str, Plain]:
    """Workflow expressions turn numbers into text; where a number is meant, it is one again."""
    properties = properties_at(schema_of(_model()), ())
    return {
        key: _number(value)
        if isinstance(value, str) and _is_number(properties.get(key))
        else cast("Plain", value)  # what a JSON parser makes
        for key, value in body.items()
    }


def _is_number(schema: Schema | None) -> bool:
    choices = (schema or {}).get("anyOf", schema)
    listed = choices if isinstance(choices, list) else [choices]
    types = {choice.get("type") for choice in listed if isinstance(choice, Mapping)}
    return bool(types & {"integer", "number"}) and "string" not in types


def _number(text: str) -> Plain:
    try:
        return int(text) if text.strip().lstrip("-").isdecimal() else float(text)
    except ValueError:  # not a number, or one of too many digits: the validation says so of text
        return text
