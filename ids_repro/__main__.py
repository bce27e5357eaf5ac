"""Run the command line: ``python -m ids_repro``."""

import atexit
import os
import signal

from .cli import main

if __name__ == "__main__":
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the command is done, and its exit code is known
        signal.signal(number, signal.SIG_IGN)
    atexit._run_exitfuncs()
    # Python's own end frees memory that the kernel frees anyway. It would also end this process with SIGINT instead of
    # the exit code after some Ctrl-C, though the command has put everything in order (bpo-1054041).
    os._exit(code)
