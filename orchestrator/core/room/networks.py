"""Networks of which every server of some services gets one for itself: a bound beside the bytes.

A resident holds one from its promise on until its server is verified gone. Services that name the
same networks share them; others have none in common.
"""

from collections.abc import Mapping

from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.specs import ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId

Networks = Mapping[ServiceName, frozenset[str]]
NO_NETWORKS: Networks = {}  # none has to be had
# Among what a plan lacks: as a device that has one unit of each holder, where others have bytes.
OF_ITS_OWN = DeviceId("a network of its own")


def holders(spec: ModelSpec, ledger: Ledger, networks: Networks) -> tuple[Resident, ...]:
    """Who has one of those that the model could have."""
    pool = networks.get(spec.service)
    if pool is None:
        return ()
    return tuple(
        resident
        for resident in ledger.residents
        if resident.name != spec.name
        and resident.state is not ResidentState.RELEASING
        and networks.get(resident.spec.service) == pool
    )


def lack(spec: ModelSpec, ledger: Ledger, networks: Networks) -> int:
    """How many of their holders have to leave before one is free."""
    pool = networks.get(spec.service)
    if pool is None:
        return 0
    return max(0, len(holders(spec, ledger, networks)) + 1 - len(pool))
