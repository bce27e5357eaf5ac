"""The load generators: hping3 as the paper uses it (Sec. V-B1), and paced live frames for rates beyond hping3's.

They run on the client, inside `load_agent`.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..config import UserError
from ..kernel.bpf_syscall import TestRun, hold_xdp, test_run
from ..kernel.program import Program, SmallProgram
from ..kernel.variants import VARIANTS
from ..require import require_programs
from .replay import LONGEST, Replay
from .uplink import DPORT, FIRST_PORT, Wire

GENERATORS = ("hping3", "live_frames")
LIVE_FRAMES = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES
# The kernel collects frames and flushes them to the interface together. Each flush wakes the server if it sleeps.
FLUSH_S = 16e-6  # time between two flushes
MOST_FRAMES = 64  # the most frames between two flushes: a quarter of a veth's ring
RUNS = (1 << 32) - 1  # the most program runs that one system call makes
GAP_BITS = 8  # GEN_FRACTION of bpf/trafficgen.bpf.c: fractional bits of a nanosecond
FOREVER = 1 << 62  # a number of packets that is never reached


def let_send(wire: Wire) -> None:
    """Attach a program that passes every packet, until this process ends, so that the driver sends live frames.

    Many drivers send what XDP gives them only while they have a program of their own. A veth needs none. Where this
    cannot be had, hping3 still works, and live frames do if the driver sends them all the same.
    """
    with contextlib.suppress(OSError, UserError):
        if wire.kind() != "veth":
            with Program(VARIANTS["empty"]) as program:
                hold_xdp(program.fd, socket.if_nametoindex(wire.iface))


@dataclass
class Run:
    """One run of a generator, from its start until it is stopped.

    Parameters
    ----------
    ended : callable
        Returns why the generator ended before it was stopped; an empty string while it sends.
    started : float
        When the first packet left, by time.monotonic [s].
    duration_s : float
        Time from the first packet to the last [s]; known once the generator is stopped.
    """

    ended: Callable[[], str] = str  # str() is ""
    started: float = 0.0
    duration_s: float = 0.0


class LiveFrames:
    """The generator that sends frames from inside the kernel, at a rate that it keeps itself.

    The BPF program is built once and used for every run.

    Parameters
    ----------
    wire : Wire
        Where to send.
    replay : Replay, optional
        What to send over and over; TCP SYNs by default.

    Raises
    ------
    UserError
        Without BCC, if the kernel refuses the program, or as `Replay.capture` does.
    """

    def __init__(self, wire: Wire, replay: Replay | None = None) -> None:
        self.wire, self._replay, self._begun_us = wire, replay, 0
        frames = [f"-DGEN_FRAMES={len(replay.capture.rows)}"] if replay else []
        self._program = SmallProgram("trafficgen", *frames)
        self._state = self._program.table("state")  # BCC makes its type Leaf of struct gen_state
        if replay:
            frames = replay.frames(bytes.fromhex(wire.peer().replace(":", "")))
            with mmap.mmap(self._program.map_fd("frames"), frames.nbytes) as memory:
                memory.write(frames.tobytes())

    def _first(self, flows: str, anew: bool) -> tuple[bytes, dict[str, Any]]:
        """Return the template of all frames, and the fields of the state that say what they become."""
        syn = self.wire.syn()
        if self._replay:
            # Each run begins the capture again, after all flows of the run before have timed out.
            self._begun_us = self._replay.pass_us + (0 if anew else self._begun_us)
            return bytes(LONGEST), {"ifindex": syn.index, "pass_us": self._replay.pass_us, "shift_us": self._begun_us}
        fields = {"ifindex": syn.index, "saddr": syn.saddr, "ip_sum": syn.ip_sum, "tcp_sum": syn.tcp_sum}
        return syn.frame, fields | {"port": FIRST_PORT, "new": int(flows == "new")}

    @contextlib.contextmanager
    def running(self, rate_pps: int, flows: str, packets: int | None = None, anew: bool = False) -> Iterator[Run]:
        """Send from a thread while the block runs.

        Parameters
        ----------
        rate_pps : int
            The rate to keep [packets/s]. Packets that the link does not take are not sent later.
        flows : {"new", "one", "replay"}
            "new": every packet has the next source port and so is a new flow; after the last port comes the next of the
            addresses `uplink.SOURCES`. "one": all have the same port. "replay": the packets of the capture.
        packets : int, optional
            Stop after so many packets.
        anew : bool
            Whether the clock of a replay begins at 0 again. The receiver must know no flow of an earlier run.

        Yields
        ------
        Run
            The run.

        Raises
        ------
        UserError
            If the target does not answer; see `Wire.peer`.
        """
        frame, fields = self._first(flows, anew)
        gap = round((1 << GAP_BITS) * 1e9 / rate_pps)
        left = FOREVER if packets is None else packets
        self._state[0] = self._state.Leaf(gap=gap, left=left, **fields)
        run, stop = Run(), threading.Event()
        thread = threading.Thread(target=self._send, args=(frame, rate_pps, stop, run), daemon=True)
        thread.start()
        try:
            yield run
        finally:
            stop.set()
            while thread.is_alive():
                signal.pthread_kill(thread.ident, signal.SIGUSR1)  # ends the system call
                thread.join(0.005)
            state = self._state[0]
            run.duration_s = (state.last_ns - state.first_ns) / 1e9
            self._begun_us = state.shift_us

    def _send(self, frame: bytes, rate_pps: int, stop: threading.Event, run: Run) -> None:
        data = ctypes.create_string_buffer(frame, len(frame))
        attr = TestRun(prog_fd=self._program.fd, data_size_in=len(frame), data_in=ctypes.addressof(data))
        attr.repeat, attr.flags = RUNS, LIVE_FRAMES
        attr.batch_size = min(max(round(rate_pps * FLUSH_S), 1), MOST_FRAMES)
        while not stop.is_set():
            try:
                test_run(attr)
            except InterruptedError:
                continue
            except OSError as error:
                why = f"this kernel makes no live frames (Linux 5.18 and later do): {error}; use hping3"
                run.ended = lambda why=why: why
                return


@contextlib.contextmanager
def hping3(wire: Wire, interval_us: int, flows: str) -> Iterator[Run]:
    """Send TCP SYNs with hping3 while the block runs.

    Parameters
    ----------
    wire : Wire
        Where to send.
    interval_us : int
        I_s, the sending interval [us]; 0 sends as fast as hping3 can (--flood). hping3 sends more slowly than 1/I_s,
        so the rate is always measured.
    flows : {"new", "one"}
        "new": every packet has the next source port (hping3's default), so the first 64,512 are new flows. "one": all
        have the same port.

    Yields
    ------
    Run
        The run. Its caller sets `Run.started`, from which the duration is counted.

    Raises
    ------
    UserError
        If hping3 is not installed, or the target does not answer; see `Wire.peer`.
    """
    wire.peer()
    require_programs("hping3")
    pace = ["--flood"] if interval_us == 0 else ["-i", f"u{interval_us}"]
    keep = ["--keep"] if flows == "one" else []
    argv = ["hping3", "-q", "-n", "-I", wire.iface, "-S", "-p", DPORT, "-s", FIRST_PORT, *keep, *pace, wire.target]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, argv)], text=True, **quiet)
    run = Run(
        lambda: "" if process.poll() is None else f"hping3 ended: {process.stderr.read().strip() or 'no message'}"
    )
    try:
        yield run
    finally:
        # SIGKILL, not SIGINT: at short intervals SIGALRM can starve hping3's handler of SIGINT, and hping3 sends on.
        process.kill()
        process.wait()
        run.duration_s = time.monotonic() - run.started
