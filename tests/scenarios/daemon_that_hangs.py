"""The daemon whose event loop stands still between SIGUSR1 and SIGUSR2; two silent seconds are a hang."""

import signal
import sys

from orchestrator.cli.main import main
from orchestrator.daemon.health import vital_signs

HUNG_S = 2.0


def hang(*_: object) -> None:
    """As in a call that does not return, and that lets other threads run."""
    signal.sigwait({signal.SIGUSR2})


if __name__ == "__main__":
    vital_signs.HUNG_S = HUNG_S
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.signal(signal.SIGUSR1, hang)
    sys.exit(main())
