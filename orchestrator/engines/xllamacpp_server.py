"""The wheel's server's former place: servers that still run were started by this name."""

import sys

from orchestrator.engines.xllamacpp.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
