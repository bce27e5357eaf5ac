"""Load generators, bounded in time: hping3 as the paper uses it (Sec. V-B1)."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator

from .link import Link


@contextlib.contextmanager
def hping3(link: Link, interval_us: int, limit_s: float, one_flow: bool = False) -> Iterator[subprocess.Popen]:
    """Send TCP SYNs from the client while the block runs.

    Parameters
    ----------
    link : Link
    interval_us : int
        I_s, the sending interval [us]; 0 sends as fast as it can (--flood). What arrives is slower than 1/I_s asks:
        rates are always measured.
    limit_s : float
        It ends itself after so many seconds whatever happens here.
    one_flow : bool
        Keep the source port; otherwise every packet has the next one and so is a new flow (hping3's default).
    """
    pace = ["--flood"] if interval_us == 0 else ["-i", f"u{interval_us}"]
    keep = ["--keep"] if one_flow else []
    argv = ["hping3", "-q", "-n", "-S", "-p", "80", "-s", "1024", *keep, *pace, link.target]
    # timeout does not pass SIGKILL on: hping3 has to watch its own parent, or a kill -9 would let it flood on.
    process = link.client.popen(
        ["timeout", "--signal=INT", f"{limit_s}", "setpriv", "--pdeathsig", "KILL", *argv],
        cpu=link.client_cpu,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # timeout passes it on
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
