"""The stages between a capture's bytes and its feature vectors, a piece at a time: bpf/user/capture.c and sampler.c.

Each holds what it must remember between two pieces, in C, and as little as that: memory does not grow with the file.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int, c_int64, c_uint32, c_uint64, c_void_p
from functools import lru_cache

import numpy as np

from .build import build
from .layouts import DAMAGED, OUTCOMES, ROW, VECTOR

LINKS = "Ethernet (1), Linux cooked (113, 276), raw IP (12, 14, 101, 228, 229) and loopback (0, 108)"
MAX_ROWS = 1 << 14  # packets in one piece: their rows stay in the processor's cache


@lru_cache
def _library() -> ctypes.CDLL:
    """Both C files, loaded, as one namespace of typed functions."""
    capture = ctypes.CDLL(str(build("user/capture.c", "capture", ("-shared", "-fPIC"))))
    sampler = ctypes.CDLL(str(build("user/sampler.c", "sampler", ("-shared", "-fPIC"))))
    p, u64 = c_void_p, c_uint64
    for lib, name, result, *arguments in (
        (capture, "ids_capture_new", p, u64, c_int),
        (capture, "ids_capture_free", None, p),
        (capture, "ids_capture_read", u64, p, p, u64, p, u64, POINTER(u64), POINTER(c_int)),
        (capture, "ids_capture_counts", None, p, p),
        (capture, "ids_link_is_known", c_int, c_uint32),
        (capture, "ids_order_new", p, u64),
        (capture, "ids_order_free", None, p),
        (capture, "ids_order_waiting", u64, p),
        (capture, "ids_order_late", u64, p),
        (capture, "ids_order_pass", c_int64, p, p, u64, c_int, p),
        (sampler, "ids_sampler_new", p, c_int),
        (sampler, "ids_sampler_free", None, p),
        (sampler, "ids_sampler_push", c_int, p, p, p, u64),
        (sampler, "ids_sampler_end", c_int, p, u64),
        (sampler, "ids_sampler_counts", None, p, p),
        (sampler, "ids_sampler_take", None, p, p, u64),
        (sampler, "ids_sizeof_vector", u64),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
        setattr(capture, name, function)
    return capture


def link_is_known(link: int) -> bool:
    """Can frames of this link type (https://www.tcpdump.org/linktypes.html) be read?"""
    return bool(_library().ids_link_is_known(link))


class _Stage:
    """A C object that is freed with its Python one."""

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
    """Bytes of a pcap or pcapng file -> its packets.

    Parameters
    ----------
    dedup_ms : float
        Leave out a frame if the same bytes, of the same captured length and link layer included, were kept at most
        this long before or after it [ms]; 0 keeps all.
    ipv6 : bool
        Take IPv6 packets too; without, each is counted as "ipv6" and left out.
    """

    def __init__(self, dedup_ms: float = 0, ipv6: bool = False):
        super().__init__("capture", round(dedup_ms * 1e6), ipv6)
        self._rows = np.zeros(MAX_ROWS, ROW)
        self.damaged = False

    def read(self, data: np.ndarray) -> tuple[np.ndarray, int]:
        """Read on.

        Parameters
        ----------
        data : ndarray of shape (n,), uint8
            Bytes of the file that follow those used so far.

        Returns
        -------
        rows : ndarray of shape (m,), dtype native.ROW
            The packets found, at most MAX_ROWS; valid until the next call.
        used : int
            How many bytes are done with; the rest has to be given again, with more. After damage: those before it.

        Raises
        ------
        MemoryError
            If the window of duplicates does not fit.
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
            raise MemoryError("no memory for the window of duplicates")
        self.damaged = status.value == DAMAGED
        return self._rows[: n.value], used

    def counts(self) -> dict[str, int]:
        """Bytes done with ("at"), "frames", packets "out_of_order" (an earlier one was younger), and OUTCOMES."""
        out = np.zeros(3 + len(OUTCOMES), np.uint64)
        self._lib.ids_capture_counts(self._c, out.ctypes.data)
        return dict(zip(("at", "frames", "out_of_order", *OUTCOMES), map(int, out), strict=True))


class Order(_Stage):
    """Packets in the order of a file -> in the order of time, as far as a window of time reaches.

    Parameters
    ----------
    window_ms : float
        How long a packet waits for older ones [ms].
    """

    def __init__(self, window_ms: float):
        super().__init__("order", round(window_ms * 1e6))

    def push(self, rows: np.ndarray, last: bool = False) -> np.ndarray:
        """Take packets (dtype native.ROW), return those that waited long enough; with `last`, all."""
        out = np.zeros(self._lib.ids_order_waiting(self._c) + len(rows), ROW)
        n = self._lib.ids_order_pass(self._c, rows.ctypes.data, len(rows), last, out.ctypes.data)
        if n < 0:
            raise MemoryError("no memory for the window of packets that wait")
        return out[:n]

    @property
    def late(self) -> int:
        """Packets that came after a younger one had left: the window is too short for them."""
        return self._lib.ids_order_late(self._c)


class Sampler(_Stage):
    """Packets in the order of arrival -> feature vectors.

    Parameters
    ----------
    every : bool
        A vector of each packet, as it comes; else one a flow, at the last of its first FIRST_PACKETS packets, when
        that is known.
    """

    def __init__(self, every: bool):
        super().__init__("sampler", every)

    def push(self, rows: np.ndarray, flow: np.ndarray | None = None) -> None:
        """Take packets.

        Parameters
        ----------
        rows : ndarray of shape (n,), dtype native.ROW
        flow : ndarray of shape (n,), uint64, optional
            Their flows if they are known: then nothing else begins or ends a flow. Without it, bpf/flow.h tells.

        Raises
        ------
        MemoryError
            If the live flows do not fit.
        """
        rows = np.ascontiguousarray(rows, ROW)
        flow = None if flow is None else np.ascontiguousarray(flow, np.uint64)
        if self._lib.ids_sampler_push(self._c, rows.ctypes.data, None if flow is None else flow.ctypes.data, len(rows)):
            raise MemoryError("no memory for the flow table")

    def end(self, most: int | None = None) -> bool:
        """Nothing comes after: every flow is over. True if `most` vectors wait: take them and call again for more."""
        more = self._lib.ids_sampler_end(self._c, 2**64 - 1 if most is None else most)
        if more < 0:
            raise MemoryError("no memory for the last vectors")
        return bool(more)

    def counts(self) -> dict[str, int]:
        """Vectors that wait to be taken ("waiting"), "packets" and "flows" so far."""
        out = np.zeros(3, np.uint64)
        self._lib.ids_sampler_counts(self._c, out.ctypes.data)
        return dict(zip(("waiting", "packets", "flows"), map(int, out), strict=True))

    def take(self, most: int | None = None) -> np.ndarray:
        """Return the next vectors that wait, all or at most so many; dtype VECTOR."""
        waiting = self.counts()["waiting"]
        out = np.empty(waiting if most is None else min(most, waiting), VECTOR)
        self._lib.ids_sampler_take(self._c, out.ctypes.data, len(out))
        return out
