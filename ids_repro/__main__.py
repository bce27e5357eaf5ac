"""Run the command line: ``python -m ids_repro``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
