"""What takes and classifies the packets of each method: a kernel program, a process in user space, or nothing.

A new place where packets are taken is a new method of `Receivers`, named in `Receivers.running`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..config import UserError
from ..kernel import attach
from ..kernel.program import Program, SmallProgram
from ..kernel.variants import Variant
from ..models.model import Model
from ..native.build import build, dpdk_flags
from ..native.layouts import net_flags
from ..network import facts
from ..network.hosts import held
from .link import Link
from .methods import METHODS, Method
from .replay import Replay

BUDGET = 64  # most packets of one poll of a driver, for the AF_XDP receiver in busy-poll mode; DPDK's own is the same
PATIENCE_S = 30.0  # how long a receiver may take to start, to answer and to end
# Drivers whose card DPDK can poll while the kernel keeps the interface, which the link's counters and addresses need.
SHARED_CARDS = ("mlx4_core", "mlx5_core")


@dataclass(frozen=True)
class Receiver:
    """A receiver that runs.

    Parameters
    ----------
    counts : callable
        Returns a dict of what the receiver counted so far. "received": the packets it took. "verdicts": packets of each
        class. "drops": packets that it lost itself, by place; the interface also counts those lost at "ring".
        Where nothing receives, there is only "drops". Of a replay also "reasons": packets by KERNEL_REASONS.
    workers : int
        Number of classifying threads.
    offline : callable, optional
        Of a replay: returns what user space counts for the first n packets, `Replay.offline`.
    """

    counts: Callable[[], dict]
    workers: int = 1
    offline: Callable[[int], dict[str, list[int]]] | None = None


class Receivers:
    """Starts each method's receiver on the server. Kernel programs are built once and kept.

    Parameters
    ----------
    model : Model
        Its integer models classify.
    link : Link
        Its server receives.
    stack : ExitStack
        Closes the kernel programs at its end.
    detector : Model, optional
        Its integer models classify in the methods that are `Method.detector`.
    """

    def __init__(self, model: Model, link: Link, stack: contextlib.ExitStack, detector: Model | None = None) -> None:
        self.model, self.link, self._stack, self.detector = model, link, stack, detector
        self._programs: dict[Variant, Program] = {}
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._redirect: SmallProgram | None = None

    def _program(self, variant: Variant, model: Model) -> Program:
        if variant not in self._programs:
            params = None if variant.params is None else model.params(variant.params)
            self._programs[variant] = self._stack.enter_context(Program(variant, params))
        return self._programs[variant]

    @contextlib.contextmanager
    def running(self, method: Method, replay: Replay | None = None) -> Iterator[Receiver]:
        """Run a method's receiver while the block runs.

        Parameters
        ----------
        method : Method
            Its mode says what receives: a mode that has no entry here is a hook of the kernel program.
        replay : Replay, optional
            What will be sent, to a method that is `Method.in_kernel`; by default packets that bring no time along.

        Yields
        ------
        Receiver
            The running receiver.

        Raises
        ------
        UserError
            If the receiver does not start, or if it has ended when its counts are asked for.
        """
        ways = {"none": self._nothing, "rawsock": self._rawsock, "afxdp": self._afxdp, "dpdk": self._dpdk}
        way = ways.get(method.mode) or partial(self._in_kernel, replay=replay)
        with way(method) as receiver:
            yield receiver

    @contextlib.contextmanager
    def _nothing(self, _: Method) -> Iterator[Receiver]:
        yield Receiver(lambda: {"drops": {}})

    @contextlib.contextmanager
    def _in_kernel(self, method: Method, replay: Replay | None) -> Iterator[Receiver]:
        model = self.detector if method.detector else self.model
        variant = method.variant(model.n_classes, model.hidden, replay is not None)
        program = self._program(variant, model)

        def counts() -> dict:
            found = program.counts()
            reasons = {"reasons": found["reason"].tolist()} if replay else {}
            verdicts = program.verdicts()[: model.n_classes].tolist()
            return {"received": int(found["packets"]), "verdicts": verdicts, "drops": {}} | reasons

        program.reset()
        with program.attached(self.link.server, method.mode):
            self.link.hold_server()
            yield Receiver(counts, offline=replay and partial(replay.offline, model, variant.params))

    @contextlib.contextmanager
    def _rawsock(self, method: Method) -> Iterator[Receiver]:
        cpus, own = self._raw_socket_cpus() if method.all_cpus else ([self.link.server_cpu], None)
        with self._process("rawsock", "socket", [len(cpus)], cpus, main_cpu=own) as counts:
            yield Receiver(counts, len(cpus))

    def _raw_socket_cpus(self) -> tuple[list[int], int | None]:
        client = {self.link.client_cpu} if self.link.mode == "netns" else set()
        return raw_socket_cpus(os.sched_getaffinity(0), {self.link.server_cpu} | client)

    def notes(self, methods: Iterable[str]) -> list[str]:
        """Return what the user should know about how these methods run here."""
        cpus, own = self._raw_socket_cpus()
        if own is not None or not any(METHODS[method].all_cpus for method in methods):
            return []
        return [f"the {len(cpus)}-core raw socket's receiving thread has no CPU of its own: there are too few CPUs"]

    @contextlib.contextmanager
    def _afxdp(self, method: Method) -> Iterator[Receiver]:
        if self._redirect is None:
            self._redirect = SmallProgram("afxdp")
            self._stack.callback(self._redirect.close)
        server, program = self.link.server, self._redirect
        server.call(lambda: attach.attach(program.fd, server.iface, "xdp_drv"))
        try:
            self.link.hold_server()
            sockets = program.map_fd("sockets")
            own, cpus = [sockets, BUDGET * method.busy_poll], [self.link.server_cpu]
            with (
                self.link.left_to_polls() if method.busy_poll else contextlib.nullcontext(),
                self._process("afxdp", "ring", own, cpus, polls=method.busy_poll, pass_fds=(sockets,)) as counts,
            ):
                yield Receiver(counts)
        finally:
            server.call(lambda: attach.detach(program.fd, server.iface, "xdp_drv"))

    @contextlib.contextmanager
    def _dpdk(self, _: Method) -> Iterator[Receiver]:
        server, flags = self.link.server, dpdk_flags()
        # DPDK makes a folder in the first, and libxdp pins nothing with the second.
        env = os.environ | {"RUNTIME_DIRECTORY": str(self._folder), "LIBXDP_SKIP_DISPATCHER": "1"}
        own, cpus = [server.call(dpdk_device, server.iface)], [self.link.server_cpu]
        try:
            running = partial(self._process, "dpdk", "ring", own, cpus, flags, polls=True, env=env)
            with self.link.left_to_polls(), running() as counts:
                server.call(attach.adopt, server.iface)
                self.link.hold_server()
                yield Receiver(counts)
        finally:
            server.call(attach.take_off_adopted, server.iface)

    @contextlib.contextmanager
    def _process(
        self,
        name: str,
        place: str,
        own: Sequence[object],
        cpus: Sequence[int],
        flags: Sequence[str] = ("-pthread",),
        main_cpu: int | None = None,
        polls: bool = False,
        **kwargs: object,
    ) -> Iterator[Callable[[], dict]]:
        """Run a receiver in C, which classifies with nn_fused or a detector's net, and yield what asks for its counts.

        The program is bpf/user/NAME.c; bpf/user/receiver.h says how it is asked. `own` are its own arguments, between
        the interface and the task. `place` names the place where packets wait for it: those that found it
        full are counted there. `flags` are for the compiler. The first thread moves to `main_cpu`.

        A receiver that `polls` never sleeps. It has the usual priority, so that the driver's thread comes first on
        its CPU: at the same priority that waits for some 3 ms, and a veth's ring, which keeps 256 packets, overflows.
        """
        server, program = self.link.server, build(f"user/{name}.c", name, (*flags, *net_flags(self.model.hidden)))
        struct, task = ("nn_log2", "detector") if self.model.detector else ("nn_fused", self.model.n_classes)
        params = self._folder / struct
        params.write_bytes(self.model.params(struct))
        argv, where = [program, server.iface, *own, task, params], ",".join(map(str, cpus))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command, cpu = (held(argv, where), None) if polls else (argv, where)
        process = server.popen(command, cpu=cpu, text=True, **pipes, **kwargs)

        def counts() -> dict:
            process.send_signal(signal.SIGUSR1)
            found = json.loads(_line(process, name))
            drops = {place: found["socket_drops"], "queue": found["queue_drops"], "unparsed": found["unparsed"]}
            return {"received": found["classified"], "verdicts": found["verdicts"], "drops": drops}

        try:
            _line(process, name)  # "ready"
            if main_cpu is not None:
                os.sched_setaffinity(process.pid, {main_cpu})  # the other threads stay on `cpus`
            yield counts
        finally:
            _end(process)


def _line(process: subprocess.Popen, name: str) -> str:
    """Return the next line of a receiver; raise UserError if it has ended, or does not answer."""
    if not select.select([process.stdout], [], [], PATIENCE_S)[0]:
        raise UserError(f"{name} has not answered for {PATIENCE_S:g} s")
    text = process.stdout.readline()
    if not text:
        raise UserError(f"{name} ended: {'; '.join(process.stderr.read().splitlines()) or 'no message'}")
    return text


def _end(process: subprocess.Popen) -> None:
    """End a receiver, by SIGKILL if it does not heed SIGTERM."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def dpdk_device(iface: str) -> str:
    """Return what DPDK takes an interface's packets from: the card itself, or the kernel's interface.

    Parameters
    ----------
    iface : str
        Name of the interface.

    Returns
    -------
    str
        The card's PCI address if its driver is one of `SHARED_CARDS`. Otherwise the poll-mode driver "net_af_xdp",
        because every other card would be taken away from the kernel.
    """
    if facts.describe(iface)["driver"] in SHARED_CARDS:
        return (facts.NET / iface / "device").resolve().name
    return "net_af_xdp"


def raw_socket_cpus(cpus: Set[int], taken: Set[int]) -> tuple[list[int], int | None]:
    """Return the CPUs of the N-core raw socket: those of its classifying threads, and that of its receiving thread.

    Parameters
    ----------
    cpus : set of int
        Those of this machine.
    taken : set of int
        Those that send packets, or do the driver's work.

    Returns
    -------
    list of int, int or None
        With too few CPUs, all of them are shared, and the receiving thread has none of its own.
    """
    free = sorted(cpus - taken)
    return (free[1:], free[0]) if len(free) > 2 else (sorted(cpus), None)
