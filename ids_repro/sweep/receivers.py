"""The methods of Fig. 4 and what receives for each: a kernel program, a process in user space, or nothing at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import UserError
from ..kernel import attach
from ..kernel.program import Program, SmallProgram
from ..kernel.variants import Variant
from ..models.model import Model
from ..native.build import build
from .link import Link
from .methods import Method


@dataclass(frozen=True)
class Receiver:
    """A receiver at work.

    Parameters
    ----------
    counts : callable
        Returns what it counted so far: "received", "verdicts" (of each class), "drops" (by place, its own).
    workers : int
        Classifying threads.
    """

    counts: Callable[[], dict]
    workers: int = 1


class Receivers:
    """Starts each method's receiver on the server; kernel programs are built once and kept.

    Parameters
    ----------
    model : Model
        Whose integer models classify.
    on : Link
    stack : ExitStack
        Closes what is kept.
    """

    def __init__(self, model: Model, on: Link, stack: contextlib.ExitStack) -> None:
        self.model, self.on, self._stack = model, on, stack
        self._programs: dict[Variant, Program] = {}
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._redirect: SmallProgram | None = None

    def _program(self, variant: Variant) -> Program:
        if variant not in self._programs:
            params = None if variant.params is None else self.model.params(variant.params)
            self._programs[variant] = self._stack.enter_context(Program(variant, params))
        return self._programs[variant]

    @contextlib.contextmanager
    def running(self, method: Method) -> Iterator[Receiver]:
        """Run a method's receiver while the block runs.

        Raises
        ------
        UserError
            If it does not start, or ended when its counts are asked for.
        """
        ways = {"none": self._nothing, "rawsock": self._rawsock, "afxdp": self._afxdp}
        with ways.get(method.mode, self._in_kernel)(method) as receiver:
            yield receiver

    @contextlib.contextmanager
    def _nothing(self, _: Method) -> Iterator[Receiver]:
        yield Receiver(lambda: {"drops": {}})

    @contextlib.contextmanager
    def _in_kernel(self, method: Method) -> Iterator[Receiver]:
        program, n = self._program(method.variant(self.model.n_classes)), self.model.n_classes
        program.reset()
        with program.attached(self.on.server, method.mode):
            self.on.hold_server()
            yield Receiver(
                lambda: {
                    "received": int(program.counts()["packets"]),
                    "verdicts": program.verdicts()[:n].tolist(),
                    "drops": {},
                }
            )

    @contextlib.contextmanager
    def _rawsock(self, method: Method) -> Iterator[Receiver]:
        cpus = sorted(os.sched_getaffinity(0)) if method.all_cpus else [self.on.server_cpu]
        with self._process("rawsock", "socket", [len(cpus)], cpus) as counts:
            yield Receiver(counts, len(cpus))

    @contextlib.contextmanager
    def _afxdp(self, _: Method) -> Iterator[Receiver]:
        if self._redirect is None:
            self._redirect = SmallProgram("afxdp")
            self._stack.callback(self._redirect.close)
        server, program = self.on.server, self._redirect
        server.call(lambda: attach.attach(program.fd, server.iface, "xdp_drv"))
        try:
            self.on.hold_server()
            sockets = program.map_fd("sockets")
            with self._process("afxdp", "ring", [sockets], [self.on.server_cpu], pass_fds=(sockets,)) as counts:
                yield Receiver(counts)
        finally:
            server.call(lambda: attach.detach(server.iface, "xdp_drv"))

    @contextlib.contextmanager
    def _process(
        self, name: str, place: str, own: Sequence[object], cpus: Sequence[int], **kwargs: object
    ) -> Iterator[Callable[[], dict]]:
        """A receiver in C (bpf/user/receiver.h) with arguments of its own; yields the call that asks for its counts.

        ``place`` is what it calls the place of packets that it was too slow for.
        """
        server, program = self.on.server, build(f"user/{name}.c", name, ("-pthread",))
        params = self._folder / "nn_fused"
        params.write_bytes(self.model.params("nn_fused"))
        argv = [program, server.iface, *own, self.model.n_classes, params]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = server.popen(argv, cpu=",".join(map(str, cpus)), text=True, **pipes, **kwargs)

        def line() -> str:
            text = process.stdout.readline()
            if not text:
                raise UserError(f"{name} ended: {process.stderr.read().strip() or 'no message'}")
            return text

        def counts() -> dict:
            process.send_signal(signal.SIGUSR1)
            found = json.loads(line())
            drops = {place: found["socket_drops"], "queue": found["queue_drops"], "unparsed": found["unparsed"]}
            return {"received": found["classified"], "verdicts": found["verdicts"], "drops": drops}

        try:
            line()  # "ready"
            yield counts
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
