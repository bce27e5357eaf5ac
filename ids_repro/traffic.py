"""Load generators, bounded in time: hping3 as the paper uses it (Sec. V-B1)."""

from __future__ import annotations

import contextlib
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
    # Killed, not interrupted: at short intervals SIGALRM can starve hping3's handler of SIGINT, and it sends on.
    # timeout does not pass SIGKILL on, so hping3 watches its own parent.
    process = link.client.popen(
        ["timeout", "--signal=KILL", f"{limit_s}", "setpriv", "--pdeathsig", "KILL", *argv],
        cpu=link.client_cpu,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()  # returns when hping3, which holds the pipe too, has ended
