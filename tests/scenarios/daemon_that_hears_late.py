"""The daemon where a caller may take half a minute to hang up, as one does on a crowded machine.

Who hangs up before that has not read its answer: without it, the crowd would decide what is left.
"""

import sys

from orchestrator.cli.main import main
from orchestrator.web import connection

HEARD_AFTER_S = 30.0

if __name__ == "__main__":
    connection.HEARD_AFTER_S = HEARD_AFTER_S
    sys.exit(main())
