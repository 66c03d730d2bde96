"""The engines that there are: what they take of what operators write, and who makes them.

One table. An engine is an entry here, its own folder in `engines/`, and its tests.
"""

from collections.abc import Mapping

from orchestrator.config.brought import brought
from orchestrator.config.engine_kind import EngineKind
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.config.validation import nearest, shown

LLAMA_CPP, XLLAMACPP = "llama_cpp", "xllamacpp"  # what configurations are written with
_PROCESS, _DOCKER = RuntimeName.PROCESS, RuntimeName.DOCKER

KINDS: Mapping[str, EngineKind] = {
    kind.name: kind
    for kind in (
        EngineKind(
            name=LLAMA_CPP,
            about="A llama.cpp server (`llama-server`).",
            maker="orchestrator.engines.llama.engine:make",
            runtimes=(_PROCESS, _DOCKER, RuntimeName.EXTERNAL),
            service_keys=frozenset({"container", "binary", "env"}),
            model_keys=frozenset({"extra_args"}),
            reads_files=True,
            env_not={
                "LLAMA_ARG_": "an argument of llama-server is a key of the model, or in its "
                "extra_args"
            },
            program="llama-server",
            keyed=True,
            llama_routes=True,
        ),
        EngineKind(
            name=XLLAMACPP,
            about="The llama.cpp inside the Python package `xllamacpp`. It computes on the CPU.",
            maker="orchestrator.engines.xllamacpp.engine:make",
            runtimes=(_PROCESS,),
            reads_files=True,
            package="xllamacpp",
            keyed=True,
            llama_routes=True,
            on_gpus=False,
        ),
        EngineKind(
            name="container",
            about="Any program in a container that is defined elsewhere. It is ready when it "
            "answers; its use is seen where it has metrics.",
            maker="orchestrator.engines.defined_elsewhere:make",
            runtimes=(_DOCKER,),
            service_keys=frozenset({"container", "health", "metrics", "busy"}),
            needs=frozenset({"container"}),
            tells_use=False,
        ),
        EngineKind(
            name="command",
            about="Any program, as a process or in containers of an image. It is told its port, "
            "and is ready when its path `health` answers; its use is seen where it has metrics.",
            maker="orchestrator.engines.command:make",
            runtimes=(_PROCESS, _DOCKER),
            service_keys=frozenset({"command", "env", "health", "metrics", "busy"}),
            model_keys=frozenset({"command", "env"}),
            needs=frozenset({"command"}),
            tells_use=False,
            settings_home="its command is written",
        ),
        EngineKind(
            name="fake",
            about="A stand-in that talks like `llama-server`, for trials and tests.",
            maker="orchestrator.engines.fake:make",
            runtimes=(_PROCESS,),
            model_keys=frozenset({"fake"}),
            keyed=True,
            llama_routes=True,
        ),
    )
}


def kinds() -> Mapping[str, EngineKind]:
    """Ours, and those that other packages bring."""
    return {**KINDS, **{name: kind for name, kind in brought().items() if name not in KINDS}}


def kind_of(service: ServiceEntry) -> EngineKind:
    """With its problem, where there is no such engine, or it cannot be used."""
    name = service.engine
    return (
        KINDS.get(name)
        or brought().get(name)
        or EngineKind(
            name=name, about="", maker="", runtimes=tuple(RuntimeName), problem=unknown(name)
        )
    )


def unknown(name: str) -> str | None:
    """What is said of an engine that there is not; None if there is one."""
    known = kinds()
    if name in known:
        return None
    guess = nearest(name, known)
    there = f"{guess} There" if guess else "; there"
    return (
        f"{shown(name)} is no engine here{there} are {', '.join(known)}. Any other program runs "
        "with engine command or container"
    )


def those_with(key: str) -> str:
    """The engines that know a key, as they stand in a sentence: `engines command and fake`."""
    *others, last = sorted(
        kind.name for kind in kinds().values() if key in kind.service_keys | kind.model_keys
    )
    return f"engines {', '.join(others)} and {last}" if others else f"engine {last}"
