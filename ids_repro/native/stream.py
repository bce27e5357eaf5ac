"""Turn the bytes of a capture file into packets, and packets into feature vectors, one piece at a time.

bpf/user/capture.c and bpf/user/sampler.c do the work. Between two pieces they keep only what the next piece needs, so
memory does not grow with the file.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int, c_int64, c_uint32, c_uint64, c_void_p
from functools import lru_cache

import numpy as np

from .build import build
from .layouts import DAMAGED, OUTCOMES, ROW, RULES, STRANGE, VECTOR

LINKS = "Ethernet (1), Linux cooked (113, 276), raw IP (12, 14, 101, 228, 229) and loopback (0, 108)"
COUNTS = ("at", "frames", "out_of_order", "most_back_ns", "late", "no_length")  # of ids_capture_counts, in its order
MAX_ROWS = 1 << 14  # most packets in one piece, few enough that their rows stay in the CPU's cache


@lru_cache
def _library() -> ctypes.CDLL:
    """Load both C files and return one namespace with the functions of both."""
    capture = ctypes.CDLL(str(build("user/capture.c", "capture", ("-shared", "-fPIC"))))
    sampler = ctypes.CDLL(str(build("user/sampler.c", "sampler", ("-shared", "-fPIC"))))
    p, u64 = c_void_p, c_uint64
    for lib, name, result, *arguments in (
        (capture, "ids_capture_new", p, u64, u64, c_int),
        (capture, "ids_capture_free", None, p),
        (capture, "ids_capture_read", u64, p, p, u64, p, u64, POINTER(u64), POINTER(c_int)),
        (capture, "ids_capture_end", c_int64, p, p, u64),
        (capture, "ids_capture_counts", None, p, p),
        (capture, "ids_link_is_known", c_int, c_uint32),
        (sampler, "ids_sampler_new", p, c_int, c_int),
        (sampler, "ids_sampler_free", None, p),
        (sampler, "ids_sampler_push", c_int, p, p, p, u64),
        (sampler, "ids_sampler_end", c_int, p, u64),
        (sampler, "ids_sampler_counts", None, p, p),
        (sampler, "ids_sampler_take", None, p, p, u64),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
        setattr(capture, name, function)
    return capture


def link_is_known(link: int) -> bool:
    """Return whether frames of this link type (https://www.tcpdump.org/linktypes.html) can be read."""
    return bool(_library().ids_link_is_known(link))


class _Stage:
    """An object in C that is freed when its Python object is.

    Parameters
    ----------
    kind : str
        C makes the object with ids_KIND_new and frees it with ids_KIND_free.
    *arguments : int
        Arguments of ids_KIND_new.

    Raises
    ------
    MemoryError
        If the object does not fit into memory.
    """

    def __init__(self, kind: str, *arguments: int):
        self._lib, self._kind = _library(), kind
        self._c = getattr(self._lib, f"ids_{kind}_new")(*arguments)
        if not self._c:
            raise MemoryError(f"no memory for the {kind}")

    def __del__(self):
        if getattr(self, "_c", None):
            getattr(self._lib, f"ids_{self._kind}_free")(self._c)
            self._c = None


class Reader(_Stage):
    """Find the packets in the bytes of a pcap or pcapng file.

    Parameters
    ----------
    dedup_ms : float
        Leave out a frame if an equal one was kept at most this long before or after it [ms]. Frames are equal if their
        bytes, captured lengths and link layers are. 0 keeps every frame.
    reorder_ms : float
        Return the packets in the order of time: each waits until one that is this much younger has come [ms]. Then
        copies are left out after the sorting, so the oldest of them stays. 0 keeps the order of the file.
    rules : {"ipv4", "both", "go-flows"}
        Which packets to return; the others are left out and counted. "both" adds IPv6. "go-flows" adds IPv6 too, and
        leaves out fragments and what has neither ports nor an ICMP type; the type and the code of ICMP are its dport.

    Attributes
    ----------
    damaged : bool
        Whether the last call of `read` came to a damaged record. Nothing after it can be read.
    """

    def __init__(self, dedup_ms: float = 0, reorder_ms: float = 0, rules: str = "ipv4"):
        super().__init__("capture", round(dedup_ms * 1e6), round(reorder_ms * 1e6), RULES.index(rules))
        self._rows = np.zeros(MAX_ROWS, ROW)
        self.damaged = False

    def read(self, data: np.ndarray) -> tuple[np.ndarray, int]:
        """Find the packets in the next bytes of the file.

        Parameters
        ----------
        data : ndarray of shape (n,), uint8
            Bytes of the file that follow the bytes used so far.

        Returns
        -------
        rows : ndarray of shape (m,), dtype ROW
            The packets found, at most MAX_ROWS. The array is overwritten by the next call.
        used : int
            How many of the bytes were used. Pass the others again; if there were neither packets nor used bytes,
            followed by more. At a damaged record, the bytes before it are used.

        Raises
        ------
        MemoryError
            If the frames that wait or that duplicates are looked for in do not fit into memory.
        """
        n, status = c_uint64(), c_int()
        used = self._lib.ids_capture_read(
            self._c,
            data.ctypes.data,
            len(data),
            self._rows.ctypes.data,
            MAX_ROWS,
            ctypes.byref(n),
            ctypes.byref(status),
        )
        if status.value not in (0, DAMAGED):
            raise MemoryError("no memory for the frames of the last moments")
        self.damaged = status.value == DAMAGED
        return self._rows[: n.value], used

    def end(self) -> np.ndarray:
        """Return the next packets that still wait, after the last bytes: shape (m,), dtype ROW, m = 0 at last.

        The array is overwritten by the next call.
        """
        n = self._lib.ids_capture_end(self._c, self._rows.ctypes.data, MAX_ROWS)
        if n < 0:
            raise MemoryError("no memory for the window of duplicates")
        return self._rows[:n]

    def counts(self) -> dict[str, int]:
        """Return what was counted so far.

        Returns
        -------
        dict of str to int
            "at": bytes used. "frames": all frames. "out_of_order": packets older than one before them in the file.
            "most_back_ns": the largest of these steps back [ns]. "late": packets that came after a younger one was
            returned, so `reorder_ms` was too short for them. "no_length": packets whose IP header gives the length 0;
            they have that of the frame. And for each name in OUTCOMES, the frames with this outcome.
        """
        return dict(zip((*COUNTS, *OUTCOMES), self._counted(), strict=False))

    def strange_links(self) -> dict[int, int]:
        """Return the link types that are not read, at most STRANGE, and the number of frames of each."""
        pairs = np.reshape(self._counted()[-2 * STRANGE :], (-1, 2))
        return {int(link): int(n) for link, n in pairs if n}

    def _counted(self) -> list[int]:
        out = np.zeros(len(COUNTS) + len(OUTCOMES) + 2 * STRANGE, np.uint64)
        self._lib.ids_capture_counts(self._c, out.ctypes.data)
        return out.tolist()


class Sampler(_Stage):
    """Make feature vectors of packets in order of arrival.

    Parameters
    ----------
    every : bool
        If true, make one vector per packet. If false, make one per flow: that of the last of the flow's first
        FIRST_PACKETS packets. It can be taken as soon as this packet is known to be the last.
    go_flows : bool
        Leave out a flow in which a packet is older than the one before it, as the users of go-flows do. A flow's vector
        can be taken when the flow has ended. With `every` these flows stay, because their vectors may be gone already.
    """

    def __init__(self, every: bool, go_flows: bool = False):
        super().__init__("sampler", every, go_flows)

    def push(self, rows: np.ndarray, flow: np.ndarray | None = None) -> None:
        """Process the next packets.

        Parameters
        ----------
        rows : ndarray of shape (n,), dtype ROW
            The packets.
        flow : ndarray of shape (n,), uint64, optional
            The number of each packet's flow, if the caller knows it. A flow's packets come one after another. By
            default the rules of bpf/flow.h decide where a flow begins and ends.

        Raises
        ------
        MemoryError
            If the flows that are not over do not fit into memory.
        """
        rows = np.ascontiguousarray(rows, ROW)
        flow = None if flow is None else np.ascontiguousarray(flow, np.uint64)
        if self._lib.ids_sampler_push(self._c, rows.ctypes.data, None if flow is None else flow.ctypes.data, len(rows)):
            raise MemoryError("no memory for the flow table")

    def end(self, most: int | None = None) -> bool:
        """End every flow, because no packet follows.

        Parameters
        ----------
        most : int, optional
            Stop when this many vectors wait to be taken, so that memory stays bounded.

        Returns
        -------
        bool
            True if it stopped before the end: take the vectors and call again.

        Raises
        ------
        MemoryError
            If the vectors do not fit into memory.
        """
        more = self._lib.ids_sampler_end(self._c, 2**64 - 1 if most is None else most)
        if more < 0:
            raise MemoryError("no memory for the last vectors")
        return bool(more)

    def counts(self) -> dict[str, int]:
        """Return what was counted so far.

        Returns
        -------
        dict of str to int
            "waiting": vectors that wait to be taken. "packets" and "flows": all of them. "stepped_back": flows in which
            a packet is older than the one before it.
        """
        out = np.zeros(4, np.uint64)
        self._lib.ids_sampler_counts(self._c, out.ctypes.data)
        return dict(zip(("waiting", "packets", "flows", "stepped_back"), map(int, out), strict=True))

    def take(self, most: int | None = None) -> np.ndarray:
        """Remove and return the next vectors that wait: all of them, or at most `most`.

        Returns
        -------
        ndarray of shape (m,), dtype VECTOR
            The vectors in the order in which they were made.
        """
        waiting = self.counts()["waiting"]
        out = np.empty(waiting if most is None else min(most, waiting), VECTOR)
        self._lib.ids_sampler_take(self._c, out.ctypes.data, len(out))
        return out
