"""What finds a container again after a restart: a handle as the Docker runtime writes it."""

from dataclasses import dataclass

from orchestrator.errors import Unreachable
from orchestrator.ports import Handle

RUNTIME = "docker"
HANDLE_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    container: str  # ours: the id; named: the name, which survives being created anew
    name: str
    ours: bool
    id: str = ""  # named: which one of that name it is, and whatever it is called later

    @property
    def reference(self) -> str:
        """What this very container is found by."""
        return self.id or self.container

    @staticmethod
    def of(handle: Handle) -> "Thing":
        """Raise Unreachable for a handle that this version does not understand."""
        if (handle.runtime, handle.version) != (RUNTIME, HANDLE_VERSION):
            raise Unreachable(
                f"A handle of {handle.runtime} version {handle.version} is not one of "
                f"{RUNTIME} version {HANDLE_VERSION}: a newer orchestrator wrote it."
            )
        fields = handle.fields
        return Thing(
            container=str(fields["container"]),
            name=str(fields["name"]),
            ours=bool(fields["ours"]),
            # Not in handles that were written before it was kept: they go by the name.
            id=str(fields.get("id", "")),
        )

    def handle(self) -> Handle:
        fields: dict[str, str | int | float] = {
            "container": self.container,
            "name": self.name,
            "ours": int(self.ours),
        }
        if self.id:
            fields["id"] = self.id
        return Handle(runtime=RUNTIME, version=HANDLE_VERSION, fields=fields)
