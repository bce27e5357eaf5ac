"""BCC: build a variant of bpf/ids.bpf.c, load it, run it on given packets."""

from __future__ import annotations

import contextlib
import ctypes
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..config import BPF, UserError
from ..native import library
from ..native.layouts import PROBE
from ..network.hosts import Host
from ..require import require_root
from . import attach
from .bcc import import_bcc
from .bpf_syscall import TestRun, test_run
from .info import prog_info, stack_bytes
from .maps import Maps
from .variants import Variant

LAYERS = (2, 3)  # of the paper's layout; the first is in ids_main
_MIN_FRAME = 64
_PROBES_AT_ONCE = 20_000  # of some 350 bytes each


class Program(Maps):
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
        package = import_bcc()
        kind = package.BPF.SCHED_CLS if variant.hook == "tc" else package.BPF.XDP
        try:
            secret = f"-DIDS_SECRET={secrets.randbits(64)}ULL"  # see ids_fold in bpf/parse.h
            self._bpf = package.BPF(src_file=bytes(BPF / "ids.bpf.c"), cflags=[*variant.flags(), secret])
            self._function = self._bpf.load_func(b"ids_main", kind)
            self._layers = [
                self._bpf.load_func(f"ids_layer{n}".encode(), kind) for n in LAYERS if variant.layout == "paper"
            ]
        except Exception as error:  # BCC raises nothing narrower
            raise UserError(
                f"BCC could not build or load bpf/ids.bpf.c as {variant}: {error}. Does this kernel allow BPF "
                "(CONFIG_BPF_SYSCALL, no lockdown)? What the compiler or the verifier said stands above."
            ) from None
        # not self._bpf[name]: BCC trips over int8 arrays when it decodes a leaf's type
        table_fd = package.lib.bpf_table_fd
        super().__init__(variant, {name: table_fd(self._bpf.module, name.encode()) for name in self.names(variant)})
        for n, layer in enumerate(self._layers):
            self._write("layers", n, np.array([layer.fd], np.int32))
        if params is not None:
            self.set_params(params)

    @property
    def fd(self) -> int:
        """File descriptor of the program."""
        return self._function.fd

    def size(self) -> dict[str, int]:
        """Bytes of BPF and of machine code of all its programs; instructions verified and stack of the largest."""
        loaded = [self._function, *self._layers]
        infos = [prog_info(function.fd) for function in loaded]
        total = {name: int(sum(info[name] for info in infos)) for name in ("xlated_bytes", "jited_bytes")}
        total["verified_insns"] = int(max(info["verified_insns"] for info in infos))
        return total | {"stack_bytes": max(stack_bytes(self._bpf.dump_func(f.name)) for f in loaded)}

    def close(self) -> None:
        """Release the program and its maps, unless they are attached somewhere."""
        self._bpf.cleanup()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _test_run(self, frame: ctypes.Array, size: int, repeat: int = 1) -> TestRun:
        """BPF_PROG_TEST_RUN in place: what it returned, mean duration [ns]. BCC 0.26 does not wrap this command."""
        at = ctypes.addressof(frame)
        return test_run(TestRun(self.fd, 0, size, size, at, at, repeat))

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
            Features, logits, reason (index into variants.REASONS) and verdict (-1: none) of each.
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
            library.test_runs(self.fd, packets, np.array([PROBE.itemsize + len(f) for f in part], np.uint32))
            out[start : start + len(part)] = packets[:, : PROBE.itemsize].copy().view(PROBE).ravel()
        return out

    @contextlib.contextmanager
    def attached(self, host: Host, mode: str) -> Iterator[None]:
        """Attach to a host's interface and detach at the end; see `attach.attach`."""
        host.call(lambda: attach.attach(self.fd, host.iface, mode))
        try:
            yield
        finally:
            host.call(lambda: attach.detach(host.iface, mode))


def _bytes(array: np.ndarray) -> np.ndarray:
    """Items of shape (n,) as bytes of shape (n, itemsize)."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), array.dtype.itemsize)


class SmallProgram:
    """An XDP program that is a file of its own in bpf/, with a function of the same name.

    Parameters
    ----------
    name : str
        ``name.bpf.c`` holds ``int name(struct xdp_md *)``.

    Raises
    ------
    UserError
        Without BCC or headers, or if the kernel refuses the program.
    """

    def __init__(self, name: str) -> None:
        package = import_bcc()
        try:
            self._bpf = package.BPF(src_file=bytes(BPF / f"{name}.bpf.c"), cflags=[f"-I{BPF}"])
            self.fd = self._bpf.load_func(name.encode(), package.BPF.XDP).fd
        except Exception as error:  # BCC raises nothing narrower
            raise UserError(f"BCC could not build or load bpf/{name}.bpf.c: {error}") from None

    def table(self, name: str, **types: type[ctypes.Structure]) -> Any:
        """A map by its name; ``leaftype=`` says how one entry is decoded."""
        return self._bpf.get_table(name, **types)

    def map_fd(self, name: str) -> int:
        """File descriptor of a map."""
        return import_bcc().lib.bpf_table_fd(self._bpf.module, name.encode())

    def close(self) -> None:
        """Release the program and its maps, unless they are attached somewhere."""
        self._bpf.cleanup()
