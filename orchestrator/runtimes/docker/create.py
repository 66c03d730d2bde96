"""What a container of ours looks like: the pure translation of a `Launch` into a create call.

Nothing is left to Docker's defaults: whatever a container may see, use or keep is said explicitly,
so that reading one function tells how far a model server can reach. The socket guard
(`nginx/docker_guard`) allows exactly these fields and no others.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.vram import DeviceId, is_cuda
from orchestrator.errors import StartFailed
from orchestrator.ports import HOST_TOKEN, KEY_FILE_TOKEN, PORT_TOKEN, Launch

Json = str | int | bool | None | Sequence["Json"] | Mapping[str, "Json"]

LABEL_INSTANCE = "vram-orchestrator.instance"
LABEL_MODEL = "vram-orchestrator.model"
LABEL_SERVICE = "vram-orchestrator.service"
LABEL_CONFIG = "vram-orchestrator.config"  # fingerprint of what was launched
LABEL_IDENTITY = "vram-orchestrator.identity"  # which orchestrator on this engine
LABEL_VERSION = "vram-orchestrator.version"

CONTAINER_PORT = 8080  # inside, where no other program listens: it never collides
NAME_LENGTH_MAX = 63  # of one DNS label: the name is how the daemon reaches the container
PIDS_MAX_DEFAULT = 4096  # vLLM runs some hundred threads per GPU; a fork bomb is stopped
SHM_BYTES_DEFAULT = 1 << 30  # the engine's 64 MiB break tensor parallelism; only used if touched
TMP_BYTES_DEFAULT = 1 << 30  # compile caches of CUDA and Triton, nothing else writes
LOG_BYTES_MAX = "10m"  # per file: a chatty server must not fill the host's disk
LOG_FILES_MAX = "2"
EVERY_INTERFACE = "0.0.0.0"  # noqa: S104 - of a container, or where the operator said `direct`
NOBODY = "65534:65534"
KEY_DIR = "/run/vram-orchestrator"  # inside
KEY_NAME = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsDir:
    """A directory that containers may read: where we see it, and what the engine calls it."""

    path: Path  # the same inside every container
    source: str  # a directory of the engine's host, or the name of a volume


def models_dir(path: Path, source: str | None = None) -> ModelsDir:
    """A directory that has the same place here and on the engine's host, unless said otherwise."""
    return ModelsDir(path=path, source=source or str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """What all containers of one service have in common."""

    identity: str  # of this orchestrator: another one on the same engine has another
    version: str  # of this orchestrator
    network: str | None = None  # shared with the daemon; None: one port on loopback
    networks: tuple[str, ...] = ()  # instead: a container gets one of them that no other is in
    isolated: bool = False  # in our closed network, where the daemon of this machine reaches it
    direct: str | None = None  # by what name clients elsewhere reach a published port; None: none
    models: tuple[ModelsDir, ...] = ()
    cdi: bool = False  # GPUs by the Container Device Interface (Docker 25, Podman)
    memory_bytes: int | None = None  # host RAM; None: as much as the host has
    pids_max: int = PIDS_MAX_DEFAULT
    shm_bytes: int = SHM_BYTES_DEFAULT
    tmp_bytes: int = TMP_BYTES_DEFAULT
    user: str = NOBODY


def container_body(launch: Launch, settings: ContainerSettings) -> dict[str, Json]:
    """The body of the engine's create call. Raise StartFailed if the launch cannot be one."""
    if launch.image is None:
        raise StartFailed(_no_image(launch))
    ports = f"{CONTAINER_PORT}/tcp"
    argv = [_filled(argument) for argument in launch.argv]
    return {
        "Image": launch.image,
        # Both, so that the image's own entry point adds nothing to what the engine asked for.
        "Entrypoint": argv[:1],
        "Cmd": argv[1:],
        "Env": [f"{name}={_filled(value)}" for name, value in sorted(_env(launch).items())],
        "User": settings.user,
        "Labels": labels(launch, settings),
        "ExposedPorts": {ports: {}},
        "HostConfig": {
            **_network(ports, settings),
            **_gpus(launch, settings),
            "Mounts": _mounts(launch, settings),
            "Init": True,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,size={settings.tmp_bytes}"},  # noqa: S108
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": settings.pids_max,
            "ShmSize": settings.shm_bytes,
            **_memory(settings),
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": LOG_BYTES_MAX, "max-file": LOG_FILES_MAX},
            },
        },
    }


def labels(launch: Launch, settings: ContainerSettings) -> dict[str, str]:
    """What finds the container again, without any memory of ours."""
    return {
        LABEL_INSTANCE: launch.instance,
        LABEL_MODEL: launch.model,
        LABEL_SERVICE: launch.service,
        LABEL_CONFIG: fingerprint(launch),
        LABEL_IDENTITY: settings.identity,
        LABEL_VERSION: settings.version,
    }


def fingerprint(launch: Launch) -> str:
    """Equal for launches that run the same thing, whatever the instance is called."""
    said = {
        "argv": list(launch.argv),
        "env": dict(launch.env),
        "image": launch.image,
        "mounts": [str(path) for path in launch.mounts],
        "devices": list(launch.devices),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def closed_network(identity: str) -> str:
    """The name of the network in which containers of ours reach nothing."""
    return f"vram-closed-{identity}"


def asks_for_key(launch: Launch) -> bool:
    return any(KEY_FILE_TOKEN in argument for argument in launch.argv)


def container_name(launch: Launch, attempt: int) -> str:
    """A name that is also a host name; later attempts avoid names that are taken."""
    suffix = "" if attempt == 0 else f"-{attempt + 1}"
    plain = re.sub(r"[^a-z0-9]+", "-", f"vram-{launch.instance}".lower()).strip("-")
    return plain[: NAME_LENGTH_MAX - len(suffix)].rstrip("-") + suffix


def requested_gpus(devices: Sequence[DeviceId]) -> list[str]:
    """The devices that have to be handed to a container; host RAM needs no handing over."""
    return [device for device in devices if is_cuda(device)]


def _env(launch: Launch) -> dict[str, str]:
    gpus = requested_gpus(launch.devices)
    # CUDA orders by speed, the placement by the split: the order has to be said.
    order = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    return {**order, **launch.env}


def _filled(text: str) -> str:
    # On all interfaces of the container's own network namespace: nothing of the host's.
    text = text.replace(PORT_TOKEN, str(CONTAINER_PORT)).replace(HOST_TOKEN, EVERY_INTERFACE)
    return text.replace(KEY_FILE_TOKEN, f"{KEY_DIR}/{KEY_NAME}")


def _network(ports: str, settings: ContainerSettings) -> dict[str, Json]:
    mode: dict[str, Json] = {"NetworkMode": settings.network or "bridge"}
    if settings.network is not None and settings.direct is None:
        return mode
    # No port number: the engine takes a free one, so there is nothing to collide with.
    interface = "127.0.0.1" if settings.direct is None else EVERY_INTERFACE
    published: list[Json] = [{"HostIp": interface, "HostPort": ""}]
    return {**mode, "PortBindings": {ports: published}}


def _gpus(launch: Launch, settings: ContainerSettings) -> dict[str, Json]:
    gpus = requested_gpus(launch.devices)
    if not gpus:
        return {}
    if settings.cdi:
        named: list[Json] = [f"nvidia.com/gpu={gpu}" for gpu in gpus]
        return {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": named}]}
    return {"DeviceRequests": [{"DeviceIDs": gpus, "Capabilities": [["gpu"]]}]}


def _memory(settings: ContainerSettings) -> dict[str, Json]:
    if settings.memory_bytes is None:
        return {}
    # Equal limits mean no swap: a model server that swaps is slower than one that fails.
    return {"Memory": settings.memory_bytes, "MemorySwap": settings.memory_bytes}


def _mounts(launch: Launch, settings: ContainerSettings) -> list[Json]:
    """The models directories that hold what the launch asks for: whole, because a Hugging Face
    cache is made of links, and because a link inside would lead a narrower mount elsewhere.
    """
    wanted: dict[Path, ModelsDir] = {}
    for path in launch.mounts:
        home = next((known for known in settings.models if path.is_relative_to(known.path)), None)
        if home is None:
            raise StartFailed(_outside(path, settings))
        wanted[home.path] = home
    # Empty and root's whatever the image has there: who is in the container adds nothing.
    bare: Json = {"NoCopy": True}
    volume: Json = {"Type": "volume", "Target": KEY_DIR, "VolumeOptions": bare}
    key: list[Json] = [volume] if asks_for_key(launch) else []
    return key + [
        {
            "Type": "bind" if home.source.startswith("/") else "volume",
            "Source": home.source,
            "Target": str(home.path),
            "ReadOnly": True,
            # A file system that is mounted inside would come along, and would be writable.
            **({"BindOptions": {"NonRecursive": True}} if home.source.startswith("/") else {}),
        }
        for home in wanted.values()
    ]


def _no_image(launch: Launch) -> Failure:
    return Failure(
        reason=FailureReason.IMAGE_MISSING,
        detail=f"Service {launch.service} runs in Docker but names no image.",
        remedy=f"Add `image:` to services.{launch.service}.",
    )


def _outside(path: Path, settings: ContainerSettings) -> Failure:
    known = ", ".join(str(home.path) for home in settings.models) or "none"
    return Failure(
        reason=FailureReason.MODEL_FILE,
        detail=f"{path} is outside the directories that containers may read ({known}).",
        remedy="Move the file there, or name its directory as models_dir.",
    )
