"""The sweep's end of the pipe to `load_agent`, the process on the client that generates the load."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

from ..config import ROOT, UserError
from .link import Link


class Sender:
    """Starts `load_agent` on the client when it is first needed, and again if it died.

    Parameters
    ----------
    link : Link
        Its client sends to its target.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._process: subprocess.Popen | None = None
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as this object)

    def start(self) -> None:
        """Start the process, unless it runs.

        It may attach a program to the client's interface, whose driver may then set up its link again: so it is ready
        before anybody checks the link.

        Raises
        ------
        UserError
            If it does not start.
        """
        if self._process is not None:
            return
        client = self.link.client
        argv = [client.python, "-m", "ids_repro.sweep.load_agent", client.iface, self.link.target]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        self._process = client.popen(argv, cpu=self.link.client_cpu, cwd=ROOT, text=True, **pipes)
        self._answer()

    def _ask(self, **command: object) -> dict:
        self.start()
        return self._answer(json.dumps(command))

    def _answer(self, command: str = "") -> dict:
        """Give the process a command, if there is one, and return its answer."""
        try:
            if command:
                print(command, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().rpartition("\n")[2]
            self.close()
            raise UserError(f"the generator on the client ended: {said or 'no message'}")
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer

    @contextlib.contextmanager
    def running(self, limit_s: float, **command: object) -> Iterator[dict]:
        """Send while the block runs.

        Parameters
        ----------
        limit_s : float
            The traffic ends by itself after this time [s], whatever happens to this process.
        **command
            "generator" and "flows"; "interval_us" for hping3, "rate_pps" for live frames. "packets" stops live frames
            after so many. "anew": see `LiveFrames.running`.

        Yields
        ------
        dict
            Empty during the block. Afterwards it holds "duration_s", the time from the first packet to the last [s].

        Raises
        ------
        UserError
            If nothing is sent, or the generator ended before it was stopped.
        """
        out: dict = {}
        self._ask(limit_s=limit_s, **command)
        try:
            yield out
        except BaseException:
            self.close()
            raise
        out |= self._ask()

    def close(self) -> None:
        """End the process, and with it all traffic."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
