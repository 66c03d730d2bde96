"""Models of `engine: command`: what is run for which model, and with which environment."""

from collections.abc import Iterator

from orchestrator.config.commands import command_mistakes, env_mistakes
from orchestrator.config.engines import kind_of
from orchestrator.config.sections import ModelEntry, ServiceEntry
from orchestrator.config.yaml_lines import Mistake
from orchestrator.core.values.specs import Program


def program_mistakes(entry: ModelEntry, service: ServiceEntry) -> Iterator[Mistake]:
    """What a model says of its program; what its service says is not said again."""
    kind = kind_of(service)
    if "command" not in kind.model_keys:
        return
    yield from env_mistakes(entry.env)
    if entry.command is not None:
        yield from command_mistakes(entry.command, (*service.env, *entry.env))
    elif service.command is None and "command" in kind.needs:
        yield Mistake(("command",), "is required, here or in the service: what is to be run")


def environment_of(*lines: tuple[str, ...]) -> dict[str, str]:
    """NAME=value lines as what they mean; the last of a name counts."""
    pairs = (line.partition("=") for several in lines for line in several)
    return {name: value for name, _, value in pairs}


def program_of(entry: ModelEntry, service: ServiceEntry) -> Program | None:
    """None: there is none, or it is not yet right."""
    command = entry.command or service.command
    if "command" not in kind_of(service).model_keys or isinstance(command, str) or not command:
        return None
    return Program(argv=command, env=tuple(environment_of(service.env, entry.env).items()))
