"""The process on the client that generates load: commands in, answers out.

``python -m ids_repro.sweep.load_agent IFACE TARGET`` is a process on the client: it takes a command a line on stdin,
each a JSON object, and answers with one. So it works through any pipe, ssh's too, and its load ends with the pipe.

    {"generator": "live_frames", "rate_pps": 800000, "flows": "new", "limit_s": 10}  ->  {"started": true}
    {}                                                                               ->  {"duration_s": 0.402}

In place of an answer there may be {"error": "why, and what to do"}. After ``limit_s`` it ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import sys
import time
from collections.abc import Mapping
from typing import IO

from ..config import UserError
from .generators import LiveFrames, Run, hping3
from .uplink import Wire

FIRST_S = 5.0  # within which the first packet must leave


class Agent:
    """The process on the client: commands in, answers out."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._live: LiveFrames | None = None

    def _start(self, command: Mapping) -> contextlib.AbstractContextManager[Run]:
        if command["generator"] == "hping3":
            return hping3(self.wire, command["interval_us"], command["flows"])
        self._live = self._live or LiveFrames(self.wire)
        return self._live.running(command["rate_pps"], command["flows"], command.get("packets"))

    def _wait_for_first(self, run: Run, before: int) -> None:
        end = time.monotonic() + FIRST_S
        while True:
            run.started = time.monotonic()
            if self.wire.sent() > before:
                return
            if run.over():
                raise UserError(run.over())
            if run.started > end:
                raise UserError(f"nothing was sent for {FIRST_S:.0f} s: is {self.wire.iface} up?")
            time.sleep(0.001)

    def obey(self, command: Mapping, stdin: IO[str]) -> None:
        """Send until the next line on stdin, or for ``limit_s``."""
        before = self.wire.sent()
        with self._start(command) as run:
            self._wait_for_first(run, before)
            _answer(started=True)
            in_time = select.select([stdin], [], [], command["limit_s"])[0]
            why = run.over() if in_time else f"nobody stopped the generator for {command['limit_s']} s"
        stdin.readline()
        _answer(error=why) if why else _answer(duration_s=run.duration_s)

    def serve(self, stdin: IO[str]) -> None:
        """Obey until the pipe ends."""
        for line in iter(stdin.readline, ""):
            try:
                self.obey(json.loads(line), stdin)
            except UserError as error:
                _answer(error=str(error))


def _answer(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main(iface: str, target: str) -> int:
    """Be the process on the client."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the sweep's Ctrl-C ends this without a word
    signal.signal(signal.SIGUSR1, lambda *_: None)
    Agent(Wire(iface, target)).serve(sys.stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
