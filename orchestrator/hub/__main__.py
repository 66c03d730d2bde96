"""`python -m orchestrator.hub NAME|REPO[:FILE]`, for where only this package is installed."""

import os
import sys

from orchestrator.hub.terminal import main

if __name__ == "__main__":
    environ = os.environ  # noqa: TID251 - a command line is where settings come in
    sys.exit(main(sys.argv[1:], environ))
