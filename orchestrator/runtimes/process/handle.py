"""How a process is found again after a restart, and where it answers."""

from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.core.values.residents import Endpoint, InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import Unreachable
from orchestrator.ports import Handle, Running

RUNTIME = "process"
HANDLE_VERSION = 1
HOST = "127.0.0.1"  # all servers listen on loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRef:
    """A handle as this runtime writes it, parsed."""

    instance: InstanceId
    model: ModelName
    pid: int
    started: int  # with the pid, the identity of a process within one boot
    boot: str
    port: int
    log: Path

    @classmethod
    def of(cls, handle: Handle) -> "ServerRef":
        """Raise Unreachable for a handle that this version does not understand."""
        fields = handle.fields
        if (handle.runtime, handle.version) != (RUNTIME, HANDLE_VERSION):
            raise Unreachable(f"not a process's handle: {handle.runtime} {handle.version}")
        try:
            return cls(
                instance=InstanceId(str(fields["instance"])),
                model=ModelName(str(fields["model"])),
                pid=int(fields["pid"]),
                started=int(fields["started"]),
                boot=str(fields["boot"]),
                port=int(fields["port"]),
                log=Path(str(fields["log"])),
            )
        except (KeyError, ValueError) as error:
            raise Unreachable(f"a process cannot be found by this handle: {error}") from error

    @property
    def authority(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def running(self) -> Running:
        fields = {**asdict(self), "log": str(self.log)}
        return Running(
            handle=Handle(runtime=RUNTIME, version=HANDLE_VERSION, fields=fields),
            endpoint=Endpoint(f"http://{self.authority}"),
        )
