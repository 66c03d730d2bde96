"""The operator's numbers for who gives way to whom, and how long a caller waits."""

from dataclasses import dataclass
from enum import StrEnum


class OnHang(StrEnum):
    """What is done about a server that runs and does not answer."""

    REPORT = "report"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What `scheduling:` of the configuration says."""

    patience_s: float = 60.0
    patience_loads: float = 10.0  # or so many load times, if that is more (R6)
    min_residency_s: float = 10.0
    min_residency_loads: float = 4.0  # or so many load times, if that is less
    drain_timeout_s: float = 120.0
    protect_idle_s: float = 180.0  # below the longest wait, or its callers were all refused
    release_timeout_s: float = 30.0  # the driver's usual lag is 0.5 to 1.5 s
    queue_length_max: int = 1000
    restore_victims: bool = True
    cancel_abandoned: bool = False  # a load without a waiting caller: finish it, or cancel
    lease_s_default: float = 3600.0
    restart_hung_s: float | None = None  # a server that is silent for so long; None: waited for
    # Nobody has waited and nothing has moved for so long, before a kept model comes back: whoever
    # made the room has taken it by then. The same for every operator.
    quiet_s: float = 5.0

    def patience_for(self, load_s: float) -> float:
        return max(self.patience_s, self.patience_loads * load_s)

    def residency_for(self, load_s: float) -> float:
        """How long who came by a switch keeps its place: loads take no more than a fifth of the
        time however many queues take turns, and nobody waits longer for a small model's sake.
        """
        return min(self.min_residency_s, self.min_residency_loads * load_s)
