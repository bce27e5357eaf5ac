"""The sweep's end of the pipe to `traffic`, the process on the client that makes the load."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

from ..config import ROOT, UserError
from .link import Link


class Generator:
    """The sweep's end of the pipe to the client; the process starts when it is first needed, and again if it died.

    Parameters
    ----------
    on : Link
    """

    def __init__(self, on: Link) -> None:
        self.on = on
        self._process: subprocess.Popen | None = None
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as this)

    def _ask(self, **command: object) -> dict:
        if self._process is None:
            argv = [self.on.client.python, "-m", "ids_repro.sweep.load_agent", self.on.client.iface, self.on.target]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
            self._process = self.on.client.popen(argv, cpu=self.on.client_cpu, cwd=ROOT, text=True, **pipes)
        try:
            print(json.dumps(command), file=self._process.stdin, flush=True)
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
        """Send while the block runs; afterwards the yielded dict holds duration_s.

        Parameters
        ----------
        limit_s : float
            The traffic ends by itself after so long, whatever happens here.
        **command
            generator, flows and interval_us or rate_pps; packets, to stop live frames after so many.

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
