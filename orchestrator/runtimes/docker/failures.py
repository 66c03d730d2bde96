"""Why Docker refused: which reason it is (R9), and what an operator can do about it."""

import re
from collections.abc import Collection

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.specs import ServiceName
from orchestrator.errors import Unreachable
from orchestrator.ports import Launch
from orchestrator.runtimes.docker.answers import EngineRefused

# A pattern of what the engine says → what it means. In the engine's own words, lower-cased.
_MEANINGS: tuple[tuple[str, FailureReason, str], ...] = (
    (
        "could not select device driver",
        FailureReason.RUNTIME_UNAVAILABLE,
        "Install the NVIDIA container toolkit on the engine's host and restart the engine.",
    ),
    (
        "nvidia-container-cli",
        FailureReason.RUNTIME_UNAVAILABLE,
        "Try `docker run --rm --gpus all IMAGE nvidia-smi` on the engine's host.",
    ),
    (
        "unresolvable cdi devices",
        FailureReason.RUNTIME_UNAVAILABLE,
        "Generate the specification: `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`.",
    ),
    (
        "port is already allocated|address already in use",
        FailureReason.PORT,
        "Somebody else listens on the port that the container publishes.",
    ),
    (
        "bind source path does not exist",
        FailureReason.MODEL_FILE,
        "The models directory must exist on the engine's host, under the name given as its source.",
    ),
    (
        "executable file not found|no such file or directory",
        FailureReason.BINARY_MISSING,
        "The image does not hold the program that the service starts: rebuild or change the image.",
    ),
    (
        r"network \S+ not found",
        FailureReason.RUNTIME_UNAVAILABLE,
        "The configured Docker network must exist: `docker network create NAME`.",
    ),
)
_ENGINE_LOG = "Look at the engine's log, for example `journalctl -u docker`."


def refused_create(launch: Launch, refused: EngineRefused) -> Failure:
    if refused.not_there and "image" in str(refused).lower():
        return image_missing(launch.service, launch.image or "")
    return _refused("create", launch, refused)


def refused_start(launch: Launch, refused: EngineRefused) -> Failure:
    return _refused("start", launch, refused)


def image_missing(service: ServiceName, image: str) -> Failure:
    return Failure(
        reason=FailureReason.IMAGE_MISSING,
        detail=f"The engine has no image {image}, which service {service} runs.",
        remedy=_image_command(image),
    )


def engine_gone(silent: Unreachable) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=str(silent),
        remedy="Retry when the engine answers again; models that run go on meanwhile.",
        transient=True,
    )


def gpu_ignored(launch: Launch, missing: Collection[str]) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"{launch.model} was started without {', '.join(sorted(missing))}: "
        "the engine ignored the GPU request.",
        remedy="Podman before 5.4 does this: upgrade it, or use Docker.",
    )


def vanished(launch: Launch) -> Failure:
    return Failure(
        reason=FailureReason.EXITED,
        detail=f"The container of {launch.model} was removed by somebody while it started.",
    )


def unwritable_key(launch: Launch, error: OSError) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"The key of {launch.model} cannot be written: {error}.",
        remedy="Make room on the disk of state_dir, or make it writable for this user.",
    )


def networks_taken(launch: Launch, names: Collection[str]) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"Every network of service {launch.service} has a container in it "
        f"({', '.join(names)}): {launch.model} would reach another model.",
        remedy=f"Name more in services.{launch.service}.networks, or unload a model.",
    )


def network_refused(name: str, refused: EngineRefused) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"Docker refused the network {name}, where closed containers are: {refused}",
        remedy="Remove networks that nobody uses (`docker network prune`), or name one of your own "
        "in the service: `network`.",
    )


def foreign_network(name: str) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"The network {name} does not keep its containers apart: it is not as we make it.",
        remedy=f"Remove it: `docker network rm {name}`. It is made anew.",
    )


def no_such_bridge(name: str) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"The network {name} is not one of this machine: the engine runs rootless, in a "
        "virtual machine, or beside this container.",
        remedy="Say `network: bridge` of the service (a port on loopback), or the network that the "
        "daemon's own container is in.",
    )


def names_taken(launch: Launch, last: str) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"Other people's containers have every name up to {last} for {launch.model}.",
        remedy=f"Rename or remove the container {last}.",
    )


def named_missing(name: str) -> Failure:
    return Failure(
        reason=FailureReason.ARGUMENTS,
        detail=f"The engine has no container {name}, and it is not ours to create.",
        remedy="Create it without starting it, e.g. `docker compose create` with its profile; "
        f"the container itself must be called {name} (`container_name`).",
    )


def _refused(verb: str, launch: Launch, refused: EngineRefused) -> Failure:
    text = str(refused).strip()
    meanings = (
        (reason, remedy)
        for pattern, reason, remedy in _MEANINGS
        if re.search(pattern, text.lower())
    )
    reason, remedy = next(meanings, (FailureReason.RUNTIME_UNAVAILABLE, _ENGINE_LOG))
    return Failure(
        reason=reason,
        detail=f"Docker refused to {verb} the container of {launch.model}: {text}",
        remedy=remedy,
    )


def _image_command(image: str) -> str:
    # A name without a slash is local by convention: nothing a registry would know by that name.
    if "/" in image:
        return f"Pull it: `docker pull {image}`."
    recipe = "Dockerfile.cpu" if image.endswith(":cpu") else "Dockerfile"
    return f"Build it: `docker build -f llama_service/{recipe} -t {image} .`."
