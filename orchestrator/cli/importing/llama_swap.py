"""llama-swap's configuration as one of ours, with what has no counterpart in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from orchestrator.cli.importing.drafts import Draft, DraftModel, named, roots_of
from orchestrator.cli.importing.macros import Macros
from orchestrator.cli.importing.swap_models import NotTaken, put, taken
from orchestrator.config.naming import CHAIN_MODELS_MAX
from orchestrator.core.values.specs import PRIORITY_DEFAULT

FILE_BYTES_MAX = 1 << 20  # as of a file of ours
DEADLINE_DEFAULT_S = 600.0  # ours; it pauses while the log still moves
PERSISTENT_PRIORITY = 5  # above others, of models that others must not unload
HEALTH_S_MIN = 15.0  # llama-swap waits no less

# Keys of a model that change nothing here, and why.
_MODEL_KEYS: Mapping[str, str] = {
    "cmdStop": "a stop is SIGTERM to all its processes, and verified",
    "filters": "requests pass as they are: send these parameters, or put them into extra_args",
    "unlisted": "every model is listed",
    "useModelName": "a request's model name is passed on as it is",
    "sendLoadingState": "a stream that waits hears comments, see gateway.heartbeat_s",
    "unloadTimeout": "scheduling.stop_grace_s says it, for all",
    "compat": "a WebSocket is a request like any other",
}
_WORDS = ("name", "description", "metadata", "capabilities", "timeouts")  # missed by few
_TAKEN_KEYS = frozenset(
    {"cmd", "env", "proxy", "checkEndpoint", "ttl", "aliases", "concurrencyLimit", "macros"}
)
# Keys of the file that change nothing here, and why.
_FILE_KEYS: Mapping[str, str] = {
    "apiKeys": "keys stand in no file: orchestrator keys create",
    "peers": "models of other machines are no models here",
    "upstream": "/upstream/MODEL/... loads whatever is asked there",
    "profiles": "gateway.tasks and gateway.chains give names to choices of models",
    "includeAliasesInList": "a list names a model's aliases beside it",
    "sendLoadingState": "a stream that waits hears comments, see gateway.heartbeat_s",
    "unloadTimeout": "scheduling.stop_grace_s says it",
}
# Of llama-swap's own logs, pages and ports.
_ITS_OWN = frozenset(
    {
        "listen",
        *("logLevel", "logTimeFormat", "logToStdout", "logRequests", "store", "captureBuffer"),
        *("metricsMaxInMemory", "ui", "performance", "startPort"),
    }
)
_KNOWN = frozenset(
    {
        *("models", "macros", "healthCheckTimeout", "globalTTL", "groups", "matrix", "routing"),
        *("hooks", "selectors"),
    }
)
_FITTING = (
    "is left out: what fits together is decided by what models take and what is free, and as few "
    "as possible leave"
)


class NotRead(Exception):
    """The file cannot be understood; the text is a sentence."""


def read_file(path: Path) -> Mapping[str, object]:
    """Raise NotRead."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise NotRead(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB.")
        content = yaml.safe_load(text)
    except OSError as error:
        raise NotRead(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotRead(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("models"), dict):
        raise NotRead(f"{path} has no models: is it llama-swap's configuration?")
    return content


def imported(content: Mapping[str, object], home: Path, environ: Mapping[str, str]) -> Draft:
    """`home` is the folder that relative paths are meant from. Never raises."""
    return _Import(content, home, environ).draft()


class _Import:
    def __init__(
        self, content: Mapping[str, object], home: Path, environ: Mapping[str, str]
    ) -> None:
        self._content = content
        self._home = home
        self._environ = environ
        self._draft = Draft(head=("From llama-swap's configuration.",))
        self._names: dict[str, str] = {}  # ours, by llama-swap's
        self._taken: set[str] = set()  # names and aliases
        self._files: defaultdict[str, list[str]] = defaultdict(list)  # by service

    def draft(self) -> Draft:
        draft = self._draft
        draft.sections["state_dir"] = "./state"
        self._scheduling()
        models = _mapping(self._content["models"])
        for wanted in models:
            self._names[str(wanted)] = name = named(str(wanted), self._taken)
            self._taken.add(name)
        for wanted, said in models.items():
            self._model(str(wanted), _mapping(said))
        for service, files in self._files.items():
            if roots := roots_of(files):
                draft.services[service]["allowed_roots"] = list(roots)
        self._preload()
        self._together()
        self._chains()
        self._rest()
        return draft

    def _scheduling(self) -> None:
        seconds = _seconds(self._content.get("healthCheckTimeout"))
        if seconds is not None and seconds > DEADLINE_DEFAULT_S:
            self._draft.sections["scheduling"] = {
                "load_deadline_s": int(max(seconds, HEALTH_S_MIN))
            }

    def _model(self, wanted: str, said: Mapping[str, object]) -> None:
        name, draft = self._names[wanted], self._draft
        macros = Macros(
            self._environ, self._content.get("macros"), said.get("macros"), {"MODEL_ID": wanted}
        )
        try:
            made = taken(name, said, macros, self._home)
        except NotTaken as error:
            draft.note(f"is left out: {error}", wanted)
            return
        if name != wanted:
            made.notes.insert(0, f"is {wanted!r} there, which is no name here")
        for variable in sorted(macros.unset):
            made.notes.append(f"the environment has no {variable}: set it, or write the value")
        service = put(draft, name, made)
        self._files[service] += made.files
        self._settings(said, draft.models[name], name, macros)
        known = {*_TAKEN_KEYS, *_MODEL_KEYS, *_WORDS}
        strange = [str(key) for key in said if key not in known]
        if words := [key for key in _WORDS if said.get(key)]:
            draft.note(f"{', '.join(words)}: nothing here is called so", name)
        for key, why in _MODEL_KEYS.items():
            if said.get(key):
                draft.note(f"{key} is left out: {why}", name)
        if strange:
            draft.note(f"{', '.join(sorted(strange))} is not known and left out", name)

    def _settings(
        self, said: Mapping[str, object], model: DraftModel, name: str, macros: Macros
    ) -> None:
        ttl = _seconds(said.get("ttl"))
        if ttl is None or ttl < 0:
            ttl = _seconds(self._content.get("globalTTL"))
        if ttl:
            model.keys["ttl_seconds"] = int(ttl)
        limit = _seconds(said.get("concurrencyLimit"))
        if limit and limit > 0:
            model.keys["concurrency"] = int(limit)
        aliases = []
        by_id = _mapping(_mapping(said.get("filters")).get("setParamsByID"))
        for wanted in (*_list(said.get("aliases")), *by_id):
            meant = macros.expanded(str(wanted))
            alias = named(meant, ())
            if alias in self._taken:
                if alias != name:
                    self._draft.note(f"alias {meant} is left out: {alias} is taken", name)
                continue
            if alias != meant:
                self._draft.note(f"alias {meant} is {alias} here", name)
            self._taken.add(alias)
            aliases.append(alias)
        if aliases:
            model.keys["aliases"] = aliases

    def _preload(self) -> None:
        startup = _mapping(_mapping(self._content.get("hooks")).get("on_startup"))
        for wanted in _list(startup.get("preload")):
            model = self._draft.models.get(self._names.get(str(wanted), ""))
            if model is None:
                self._draft.note(f"preload of {wanted} is left out: no model is called so")
            else:
                model.keys["preload"] = True

    def _together(self) -> None:
        """Groups, the matrix and priorities."""
        routing = _mapping(self._content.get("routing"))
        settings = _mapping(_mapping(routing.get("router")).get("settings"))
        groups = _mapping(self._content.get("groups")) | _mapping(settings.get("groups"))
        for group, said in groups.items():
            self._group(str(group), _mapping(said))
        if self._content.get("matrix") or settings.get("matrix"):
            self._draft.note(f"matrix {_FITTING}; what a model costs to load is learned")
        fifo = _mapping(_mapping(_mapping(routing.get("scheduler")).get("settings")).get("fifo"))
        for wanted, priority in _mapping(fifo.get("priority")).items():
            model = self._draft.models.get(self._names.get(str(wanted), ""))
            number = _seconds(priority)
            if model is not None and number:
                model.keys["priority"] = PRIORITY_DEFAULT + int(number)

    def _group(self, group: str, said: Mapping[str, object]) -> None:
        if not said.get("persistent"):
            self._draft.note(f"group {group} {_FITTING}")
            return
        ours = [self._names.get(str(wanted), "") for wanted in _list(said.get("members"))]
        ours = [name for name in ours if name in self._draft.models]
        swaps = said.get("swap") is not False
        for name in ours:
            keys = self._draft.models[name].keys
            if swaps:  # pins would keep its members from each other
                keys["priority"] = PRIORITY_DEFAULT + PERSISTENT_PRIORITY
            else:
                keys["pinned"] = True
        became = "more important than others" if swaps else "pinned: only force unloads them"
        heard = f"{', '.join(ours)}: {became}" if ours else "none of its members is here"
        self._draft.note(f"group {group} is persistent; {heard}")

    def _chains(self) -> None:
        for wanted, said in _mapping(self._content.get("selectors")).items():
            targets = [
                self._names[str(target)]
                for target in _list(_mapping(said).get("targets"))
                if self._names.get(str(target)) in self._draft.models
            ]
            if not targets:
                self._draft.note(f"selector {wanted} is left out: none of its targets is here")
                continue
            name = named(str(wanted), self._taken)
            self._taken.add(name)
            self._draft.chains[name] = targets[:CHAIN_MODELS_MAX]
            called = "" if name == wanted else f", called {name},"
            self._draft.note(
                f"selector {wanted} became a chain{called} whatever its strategy: the first model "
                "that fits serves"
            )

    def _rest(self) -> None:
        for key, why in _FILE_KEYS.items():
            if self._content.get(key):
                self._draft.note(f"{key} is left out: {why}")
        if own := sorted(_ITS_OWN.intersection(map(str, self._content))):
            self._draft.note(f"{', '.join(own)}: of llama-swap's own logs, pages and ports")
        known = {*_FILE_KEYS, *_ITS_OWN, *_KNOWN}
        strange = sorted(str(key) for key in self._content if key not in known)
        strange = [key for key in strange if not key.startswith("x-")]  # places for YAML's anchors
        if strange:
            self._draft.note(f"{', '.join(strange)} is not known and left out")


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: object) -> Iterator[object]:
    if isinstance(value, list | tuple):
        yield from value
    elif value is not None and not isinstance(value, Mapping):
        yield value


def _seconds(value: object) -> float | None:
    """Also of a number in quotes; None of anything else."""
    if isinstance(value, bool):
        return None
    try:
        return float(str(value))
    except ValueError:
        return None
