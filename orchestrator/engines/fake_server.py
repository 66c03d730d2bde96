"""The stand-in server's former place: servers that still run were started by this name."""

import sys

from orchestrator.stand_in.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
