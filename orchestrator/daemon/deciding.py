"""The scheduler of this daemon, with what holds as long as the daemon lives."""

from orchestrator.config.loading import Config
from orchestrator.config.services import closes
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.specs import ModelSpecs


def make_scheduler(config: Config, specs: ModelSpecs, ledger: Ledger, *, keyed: bool) -> Scheduler:
    """`keyed`: there are keys of the API."""
    networks = {
        name: frozenset(entry.networks)
        for name, entry in config.services.items()
        if entry.networks and closes(entry, keyed=keyed)
    }
    return Scheduler(specs, ledger, config.scheduling.rules, networks=networks)
