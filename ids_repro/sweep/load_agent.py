"""The process on the client that generates the load. It takes commands on stdin and answers on stdout.

``python -m ids_repro.sweep.load_agent IFACE TARGET`` reads one JSON object a line and answers each with one line. It
works through any pipe, an ssh connection included. When the pipe ends, the process ends, and the load with it.

                                                                                             ->  {"ready": true}
    {"generator": "live_frames", "rate_pps": 800000, "flows": "new", "limit_s": 10}  ->  {"started": true}
    {}                                                                               ->  {"duration_s": 0.402}

The first command starts a generator, the next line stops it. If something is wrong, the answer is
{"error": "why, and what to do"}. A generator that nobody stops ends after ``limit_s``. To replay a capture ("flows":
"replay"), the command also has the "capture" and its "sha256", and "anew": true if its clock shall begin at 0 again.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import IO

from ..config import ROOT, UserError
from ..text import rounded
from .generators import LiveFrames, Run, hping3, let_send
from .replay import Replay
from .uplink import Wire

FIRST_S = 5.0  # how long the first packet may take to leave


class Agent:
    """Starts and stops generators as it is told.

    Parameters
    ----------
    wire : Wire
        Where to send.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._live = cache(self._live_frames)

    def _start(self, command: Mapping) -> contextlib.AbstractContextManager[Run]:
        if command["generator"] == "hping3":
            return hping3(self.wire, command["interval_us"], command["flows"])
        live = self._live(command.get("capture"), command.get("sha256"))
        return live.running(command["rate_pps"], command["flows"], command.get("packets"), command.get("anew", False))

    def _live_frames(self, capture: str | None, sha256: str | None) -> LiveFrames:
        replay = None if capture is None else Replay(ROOT / capture)
        if replay and replay.capture.sha256 != sha256:
            raise UserError(f"{capture}: another file on the client than on the server; copy the server's to there")
        return LiveFrames(self.wire, replay)

    def _wait_for_first(self, run: Run, before: int) -> None:
        """Wait until the interface has sent more packets than `before`, and note the time in the run."""
        end = time.monotonic() + FIRST_S
        while True:
            run.started = time.monotonic()
            if self.wire.sent() > before:
                return
            if run.ended():
                raise UserError(run.ended())
            if run.started > end:
                raise UserError(f"nothing was sent for {rounded(FIRST_S, '.0f')} s: is {self.wire.iface} up?")
            time.sleep(0.001)

    def obey(self, command: Mapping, stdin: IO[str]) -> None:
        """Start a generator, and stop it when the next line arrives on stdin or ``limit_s`` is over.

        Parameters
        ----------
        command : mapping
            The parsed line that starts the generator.
        stdin : text file
            The pipe that brings the next line.

        Raises
        ------
        UserError
            If the generator does not start.
        """
        before = self.wire.sent()
        with self._start(command) as run:
            self._wait_for_first(run, before)
            _answer(started=True)
            in_time = select.select([stdin], [], [], command["limit_s"])[0]
            why = run.ended() if in_time else f"nobody stopped the generator for {command['limit_s']} s"
        stdin.readline()
        _answer(error=why) if why else _answer(duration_s=run.duration_s)

    def serve(self, stdin: IO[str]) -> None:
        """Obey every command until the pipe ends."""
        for line in iter(stdin.readline, ""):
            try:
                self.obey(json.loads(line), stdin)
            except UserError as error:
                _answer(error=str(error))


def _answer(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main(iface: str, target: str) -> int:
    """Serve stdin until it ends, and return the exit code.

    Parameters
    ----------
    iface : str
        Name of the client's interface.
    target : str
        The IPv4 address to send to.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the sweep's terminal ends this process without a traceback
    signal.signal(signal.SIGUSR1, lambda *_: None)  # it only interrupts the system call of `LiveFrames`
    wire = Wire(iface, target)
    let_send(wire)
    _answer(ready=True)
    Agent(wire).serve(sys.stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
