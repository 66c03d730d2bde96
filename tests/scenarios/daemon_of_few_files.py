"""The daemon where the system allows few open files."""

import resource
import sys

from orchestrator.cli.main import main

FILES = 128

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES // 2, FILES))
    sys.exit(main())
