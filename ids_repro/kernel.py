"""BCC: build a variant of bpf/ids.bpf.c, load it, attach it, run it on given packets. The only importer of bcc."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from . import headers, native
from .config import BPF, UserError
from .testbed import Host, require_root

DIST_PACKAGES = "/usr/lib/python3/dist-packages"
ACTIONS = {"count": 0, "filter": 1, "sink": 2}  # pass everything, drop attacks, drop everything
CLASSIFIERS = {"none": 0, "nn": 1, "dt": 2, "nn_fused": 3}
XDP_FLAGS = {"xdp_skb": 1 << 1, "xdp_drv": 1 << 2}
MAX_CLASSES, N_REASONS = 8, 4

# struct ids_counts and struct ids_probe of bpf/ids.bpf.c
COUNTS = np.dtype([("packets", "u8"), ("reason", "u8", N_REASONS), ("verdict", "u8", MAX_CLASSES)])
PROBE = np.dtype(
    [
        ("eth", "u1", 16),
        ("now_ns", "u8"),
        ("use_x", "u8"),
        ("x", "i8", 12),
        ("logits", "i8", MAX_CLASSES),
        ("reason", "i8"),
        ("verdict", "i8"),
        ("first", "u8"),
    ]
)
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_TEST_RUN = 10
_MIN_FRAME = 64
_PROBES_AT_ONCE = 20_000  # of some 350 bytes each


@dataclass(frozen=True)
class Variant:
    """One way to build the kernel program.

    Parameters
    ----------
    hook : {"xdp", "tc"}
    classifier : {"none", "nn", "nn_fused", "dt"}
        "none" is flow extraction only; "nn" is the net in arithmetic q16.
    n_classes : int
        2 or 7.
    action : {"count", "filter", "sink"}
        Pass everything, drop what is not normal, or drop everything after counting.
    flows : int
        Entries of the flow table (LRU).
    probe : bool
        Build for test runs: the frame follows a struct ids_probe.
    """

    hook: str = "xdp"
    classifier: str = "none"
    n_classes: int = 2
    action: str = "count"
    flows: int = 65536
    probe: bool = False

    def flags(self) -> list[str]:
        """Compiler flags of this variant."""
        defines = {
            "IDS_CLASSIFIER": CLASSIFIERS[self.classifier],
            "IDS_CLASSES": self.n_classes,
            "IDS_ACTION": ACTIONS[self.action],
            "IDS_FLOWS": self.flows,
        }
        switches = ["-DIDS_TC"] * (self.hook == "tc") + ["-DIDS_PROBE"] * self.probe
        return [f"-I{BPF}", "-fwrapv", *(f"-D{k}={v}" for k, v in defines.items()), *switches]


@lru_cache
def _bcc() -> ModuleType:
    """Import the distribution's bcc, which is no package of the virtual environment."""
    if DIST_PACKAGES not in sys.path:
        sys.path.append(DIST_PACKAGES)  # last: the environment's own packages win
    source = headers.kernel_source()
    if source:
        os.environ["BCC_KERNEL_SOURCE"] = str(source)
    try:
        import bcc
    except ImportError as error:
        raise UserError(f"BCC is not installed ({error}): run 'make system'") from None
    return bcc


class Program:
    """A loaded variant with its maps.

    Parameters
    ----------
    variant : Variant
    params : bytes, optional
        The model as a C struct (`export`); needed unless the classifier is "none".

    Raises
    ------
    UserError
        Without root, BCC, headers or BPF, or if the kernel refuses the program.
    """

    def __init__(self, variant: Variant, params: bytes | None = None) -> None:
        require_root("loading a BPF program")
        bcc = _bcc()
        self.variant = variant
        self._kind = bcc.BPF.SCHED_CLS if variant.hook == "tc" else bcc.BPF.XDP
        try:
            self._bpf = bcc.BPF(src_file=bytes(BPF / "ids.bpf.c"), cflags=variant.flags())
            self._function = self._bpf.load_func(b"ids_main", self._kind)
        except Exception as error:  # BCC raises nothing narrower
            raise UserError(
                f"BCC could not build or load bpf/ids.bpf.c as {variant}: {error}. Does this kernel allow BPF "
                "(CONFIG_BPF_SYSCALL, no lockdown)? What the compiler or the verifier said stands above."
            ) from None
        self._lib, self._cpus = bcc.lib, len(bcc.utils.get_possible_cpus())
        if params is not None:
            self.set_params(params)

    @property
    def fd(self) -> int:
        """File descriptor of the program."""
        return self._function.fd

    def _map(self, name: str) -> int:
        # not self._bpf[name]: BCC trips over int8 arrays when it decodes the leaf's type
        return self._lib.bpf_table_fd(self._bpf.module, name.encode())

    def leaf_size(self, name: str) -> int:
        """Bytes of one entry of a map."""
        return self._lib.bpf_table_leaf_size(self._bpf.module, name.encode())

    def set_params(self, params: bytes) -> None:
        """Put a model, as a C struct, into the BPF map (Sec. IV-B, step u3)."""
        if len(params) != self.leaf_size("params"):
            raise ValueError(f"params has {len(params)} bytes; {self.variant} takes {self.leaf_size('params')}")
        key = ctypes.c_int(0)
        if self._lib.bpf_update_elem(self._map("params"), ctypes.byref(key), ctypes.c_char_p(params), 0):
            raise OSError("bpf_update_elem failed on params")

    def counts(self) -> np.void:
        """Packets, outcomes and verdicts since the last `reset`, summed over CPUs; dtype COUNTS."""
        key, leaves = ctypes.c_int(0), np.zeros(self._cpus, COUNTS)
        if self._lib.bpf_lookup_elem(self._map("counts"), ctypes.byref(key), ctypes.c_void_p(leaves.ctypes.data)):
            raise OSError("bpf_lookup_elem failed on counts")
        total = np.zeros((), COUNTS)
        for name in COUNTS.names:
            total[name] = leaves[name].sum(axis=0)
        return total[()]

    def reset(self) -> None:
        """Set the counts to zero and forget all flows."""
        key, leaves = ctypes.c_int(0), np.zeros(self._cpus, COUNTS)
        if self._lib.bpf_update_elem(self._map("counts"), ctypes.byref(key), ctypes.c_void_p(leaves.ctypes.data), 0):
            raise OSError("bpf_update_elem failed on counts")
        self._bpf[b"flows"].clear()

    def close(self) -> None:
        """Release the program and its maps, unless they are attached somewhere."""
        self._bpf.cleanup()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _test_run(self, frame: ctypes.Array, size: int, repeat: int = 1) -> _TestRun:
        """BPF_PROG_TEST_RUN in place: what it returned, mean duration [ns]. BCC 0.26 does not wrap this command."""
        attr = _TestRun(self.fd, 0, size, size, ctypes.addressof(frame), ctypes.addressof(frame), repeat)
        number = _SYS_BPF.get(platform.machine())
        if number is None:
            raise UserError(f"test runs are not wired for {platform.machine()}, only for {', '.join(_SYS_BPF)}")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(number, _PROG_TEST_RUN, ctypes.byref(attr), ctypes.sizeof(attr)) < 0:
            raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN: " + os.strerror(ctypes.get_errno()))
        return attr

    def run(self, frame: bytes) -> int:
        """Run the program once on a frame, inside the kernel; returns its return value, such as XDP_DROP."""
        return self._test_run(ctypes.create_string_buffer(frame, len(frame)), len(frame)).retval

    def time(self, data: bytes, repeat: int = 20000) -> int:
        """Run the program `repeat` times on one packet inside the kernel; returns the mean time of a run [ns]."""
        size = max(len(data), _MIN_FRAME)
        return self._test_run(ctypes.create_string_buffer(data.ljust(size, b"\0"), size), size, repeat).duration

    def probe(self, probes: np.ndarray, frames: Sequence[bytes] | None = None) -> np.ndarray:
        """Run the program once for each probe, inside the kernel, and return the probes as it left them.

        Parameters
        ----------
        probes : ndarray of shape (n,), dtype PROBE
            With ``use_x`` the vector x is classified; without, the frame, at the time ``now_ns``.
        frames : sequence of bytes, optional
            Frames with their link layer, one a probe.

        Returns
        -------
        ndarray of shape (n,), dtype PROBE
            Features, logits, reason (index into native.REASONS) and verdict (-1: none) of each.
        """
        if not self.variant.probe:
            raise ValueError("this variant was built without probe=True")
        out, n = probes.copy(), len(probes)
        frames = frames if frames is not None else [b""] * n
        for start in range(0, n, _PROBES_AT_ONCE):
            part = frames[start : start + _PROBES_AT_ONCE]
            width = -(-max(map(len, part)) // 8) * 8
            packets = np.zeros((len(part), PROBE.itemsize + width), np.uint8)
            packets[:, : PROBE.itemsize] = _bytes(out[start : start + len(part)])
            packets[:, PROBE.itemsize :] = _bytes(np.array([f.ljust(width, b"\0") for f in part], f"V{width}"))
            native.test_runs(self.fd, packets, np.array([PROBE.itemsize + len(f) for f in part], np.uint32))
            out[start : start + len(part)] = packets[:, : PROBE.itemsize].copy().view(PROBE).ravel()
        return out

    @contextlib.contextmanager
    def attached(self, host: Host, mode: str) -> Iterator[None]:
        """Attach to a host's interface and detach at the end.

        Parameters
        ----------
        host : Host
        mode : {"xdp_drv", "xdp_skb", "tc"}

        Raises
        ------
        UserError
            If the interface does not take it.
        """
        try:
            host.call(self._attach, host.iface, mode)
        except (NetlinkError, Exception) as error:
            raise UserError(f"{host.iface} of {host.name} does not take a {mode} program: {error}") from None
        try:
            yield
        finally:
            host.call(self._detach, host.iface, mode)

    def _attach(self, iface: str, mode: str) -> None:
        if mode != "tc":
            self._bpf.attach_xdp(iface.encode(), self._function, XDP_FLAGS[mode])
            return
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=iface)[0]
            ip.tc("add", "clsact", index)
            what = {"fd": self.fd, "name": "ids", "classid": 1, "direct_action": True}
            try:
                ip.tc("add-filter", "bpf", index, parent="ffff:fff2", **what)
            except NetlinkError:
                ip.tc("del", "clsact", index)
                raise

    def _detach(self, iface: str, mode: str) -> None:
        if iface not in (name for _, name in socket.if_nameindex()):
            return  # the interface is gone, and what was attached with it
        if mode == "tc":
            with IPRoute() as ip:
                ip.tc("del", "clsact", ip.link_lookup(ifname=iface)[0])
        else:
            self._bpf.remove_xdp(iface.encode(), XDP_FLAGS[mode])


def _bytes(array: np.ndarray) -> np.ndarray:
    """Items of shape (n,) as bytes of shape (n, itemsize)."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), array.dtype.itemsize)


class _TestRun(ctypes.Structure):
    """The part of union bpf_attr that BPF_PROG_TEST_RUN reads."""

    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx", ctypes.c_uint64 * 3),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]
