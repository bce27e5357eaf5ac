"""Build a variant of bpf/ids.bpf.c with BCC, load it, and run it on given packets."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterator, Sequence
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from .. import parallel
from ..config import BPF, UserError
from ..native import library
from ..native.layouts import PROBE
from ..network.hosts import Host
from ..require import FOR_BPF, require_capabilities
from . import attach, verifier
from .bcc import compiled, import_bcc
from .bpf_syscall import TestRun, test_run
from .info import prog_info, stack_bytes
from .maps import Maps
from .variants import Variant, require_memory

_MIN_FRAME = 64  # bytes of the shortest packet of a test run
_PROBES_AT_ONCE = 20_000  # of about 350 bytes each


class Program(Maps):
    """A loaded variant with its maps; as a context manager it is closed at the end.

    Parameters
    ----------
    variant : Variant
        What to build.
    params : bytes, optional
        The C struct of the model (`models.model.Model.params`). `set_params` can also write it later.

    Raises
    ------
    UserError
        If the user is not root; if BCC or the kernel headers are missing; if the kernel has no BPF or refuses the
        program; if the flow table does not fit into this machine's memory; or if the struct does not have the size
        that the variant expects.
    """

    def __init__(self, variant: Variant, params: bytes | None = None) -> None:
        require_capabilities("loading a BPF program", *FOR_BPF)
        require_memory(variant.flows)
        package = import_bcc()
        kind = package.BPF.XDP if variant.hook == "xdp" else package.BPF.SCHED_CLS
        secret = secrets.randbits(64)  # of the flow table's hash, and of ids_fold in bpf/parse.h
        try:
            bpf = compiled(bytes(BPF / "ids.bpf.c"), [*variant.flags(), f"-DIDS_SECRET={secret}ULL"])
            functions = [_load(package, bpf, name, kind) for name in variant.programs]
        except _Refused as error:
            raise UserError(refusal(variant, str(error))) from None
        except Exception as error:  # BCC raises no narrower class.
            raise UserError(
                f"BCC could not build or load bpf/ids.bpf.c as {variant}: {error}. Does this kernel allow BPF "
                "(CONFIG_BPF_SYSCALL, no lockdown)? The messages of the compiler or the verifier are above."
            ) from None
        # bpf[name] would decode the type of a map's values, and BCC fails at arrays of int8.
        maps = {name: package.lib.bpf_table_fd(bpf.module, name.encode()) for name in self.names(variant)}
        stack = max(stack_bytes(bpf.dump_func(function.name)) for function in functions)
        own = [os.dup(function.fd) for function in functions], {name: os.dup(fd) for name, fd in maps.items()}
        bpf.cleanup()  # what BCC keeps of a compilation is not needed any more
        self._take(variant, secret, stack, *own)
        for n, layer in enumerate(self._functions[1:]):
            self._write("layers", n, np.array([layer], np.int32))
        if params is not None:
            self.set_params(params)

    def _take(self, variant: Variant, secret: int, stack: int, functions: list[int], maps: dict[str, int]) -> None:
        """Own a loaded program from now on: its functions, the attached one first, and its maps."""
        super().__init__(variant, maps)
        self.secret, self._stack, self._functions = secret, stack, functions

    def __reduce__(self) -> tuple:
        """Let `parallel.run` hand this program to the process that asked for it, by its file descriptors."""
        functions, maps = [DupFd(fd) for fd in self._functions], {name: DupFd(fd) for name, fd in self.fds.items()}
        return _received, (self.variant, self.secret, self._stack, functions, maps)

    @property
    def fd(self) -> int:
        """File descriptor of the program that is attached (``ids_main``)."""
        return self._functions[0]

    def size(self) -> dict[str, int]:
        """Return how large the program is, together with the layers that it calls in the paper's layout.

        Returns
        -------
        dict of str to int
            "xlated_bytes" and "jited_bytes": BPF code and machine code, summed over all its programs [byte].
            "verified_insns" and "stack_bytes": instructions that the verifier walked through and stack [byte], each of
            the program that has the most.
        """
        infos = [prog_info(fd) for fd in self._functions]
        total = {name: int(sum(info[name] for info in infos)) for name in ("xlated_bytes", "jited_bytes")}
        return total | {
            "verified_insns": int(max(info["verified_insns"] for info in infos)),
            "stack_bytes": self._stack,
        }

    def close(self) -> None:
        """Close the program and its maps. The kernel keeps them while they are attached or pinned."""
        functions, self._functions, self.fds, maps = self._functions, [], {}, self.fds
        for fd in (*functions, *maps.values()):
            os.close(fd)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _test_run(self, frame: ctypes.Array, size: int, repeat: int = 1) -> TestRun:
        """Run the program on a frame in place and return the result: its return value and mean duration [ns]."""
        at = ctypes.addressof(frame)
        return test_run(TestRun(self.fd, 0, size, size, at, at, repeat))

    def run(self, frame: bytes) -> int:
        """Run the program once on a frame, inside the kernel, and return its return value, such as XDP_DROP."""
        return self._test_run(ctypes.create_string_buffer(frame, len(frame)), len(frame)).retval

    def time(self, data: bytes, repeat: int = 20000) -> int:
        """Run the program repeatedly on one packet, inside the kernel.

        Parameters
        ----------
        data : bytes
            The packet, which is padded to 64 bytes if it is shorter.
        repeat : int
            Number of runs.

        Returns
        -------
        int
            Mean time of a run [ns].
        """
        size = max(len(data), _MIN_FRAME)
        return self._test_run(ctypes.create_string_buffer(data.ljust(size, b"\0"), size), size, repeat).duration

    def probe(self, probes: np.ndarray, frames: Sequence[bytes] | None = None) -> np.ndarray:
        """Run the program for each probe, inside the kernel, and return the probes as the program left them.

        Parameters
        ----------
        probes : ndarray of shape (n,), dtype PROBE
            If ``use_x`` is 1 the program classifies the vector ``x``. If it is 0 the program handles the frame as if
            it arrived at ``now_ns``. Before that it handles the packets of ``flood``, of which it keeps no results.
        frames : sequence of bytes, optional
            One Ethernet frame for each probe.

        Returns
        -------
        ndarray of shape (n,), dtype PROBE
            ``x`` holds the features, Q16; ``logits`` those of a net; ``reason`` an index into KERNEL_REASONS;
            ``verdict`` the class, or -1 without one; ``first`` is 1 if the packet began a flow.

        Raises
        ------
        ValueError
            If the variant was not built with ``probe=True``.
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
            sizes = np.array([PROBE.itemsize + len(f) for f in part], np.uint32)
            repeats = 1 + out["flood"]["left"][start : start + len(part)].astype(np.uint32)
            library.test_runs(self.fd, packets, sizes, repeats)
            out[start : start + len(part)] = packets[:, : PROBE.itemsize].copy().view(PROBE).ravel()
        return out

    @contextlib.contextmanager
    def attached(self, host: Host, mode: str) -> Iterator[None]:
        """Attach the program to a host's interface while the block runs.

        Parameters
        ----------
        host : Host
            The host, whose ``iface`` is taken.
        mode : {"xdp_drv", "xdp_skb", "tc", "tc_both"}
            See `attach.attach`.

        Raises
        ------
        UserError
            If the interface does not take the program; see `attach.attach`.
        """
        made = host.call(attach.attach, self.fd, host.iface, mode)
        try:
            yield
        finally:
            host.call(attach.detach, self.fd, host.iface, mode, made)


def load_all(loads: Sequence[tuple[Variant, bytes | None]], title: str = "building variants") -> list[Program]:
    """Load programs, whose arguments are those of `Program`, on all CPUs: the compiler takes most of a second each."""
    return parallel.run(_load_one, loads, title=title)


def _load_one(load: tuple[Variant, bytes | None]) -> Program:
    return Program(*load)


def _received(variant: Variant, secret: int, stack: int, functions: list[DupFd], maps: dict[str, DupFd]) -> Program:
    program = Program.__new__(Program)
    program._take(variant, secret, stack, [fd.detach() for fd in functions], {n: fd.detach() for n, fd in maps.items()})
    return program


class _Refused(Exception):
    """The verifier refused a program; the text has its words."""


def _load(package: Any, bpf: Any, name: str, kind: int) -> Any:
    """Load a function of a compiled module as BCC does, which closes it with the module; raise if it is refused."""
    fd, reason = verifier.load(package, bpf.module, name.encode(), kind)
    if fd < 0:
        raise _Refused(f"{name}: {reason}")
    return bpf.funcs.setdefault(name.encode(), package.BPF.Function(bpf, name.encode(), fd))


def refusal(variant: Variant, reason: str) -> str:
    """Return the sentence for a program that the kernel refused, with the verifier's reason."""
    limit = verifier.limit(reason)
    if not limit:
        allowed = "Does this kernel allow BPF (CONFIG_BPF_SYSCALL, no lockdown)?"
        return f"BCC could not build or load bpf/ids.bpf.c as {variant}: {reason}. {allowed}"
    less = "train with smaller or fewer hidden layers" if variant.classifier == "nn" else "choose another variant"
    less += ', or take the layout "packed"' * (variant.layout == "paper")
    return f"the kernel refuses bpf/ids.bpf.c as {variant}, because it breaks a limit: {limit} ({reason}); {less}"


def _bytes(array: np.ndarray) -> np.ndarray:
    """Return items of shape (n,) as bytes of shape (n, itemsize)."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), array.dtype.itemsize)


class SmallProgram:
    """An XDP program that has a file of its own in bpf/, with a function of the same name.

    Parameters
    ----------
    name : str
        The file ``name.bpf.c`` defines ``int name(struct xdp_md *)``.
    *flags : str
        Further flags for the compiler.

    Attributes
    ----------
    fd : int
        File descriptor of the program.

    Raises
    ------
    UserError
        If BCC or the kernel headers are missing, or if the kernel refuses the program.
    """

    def __init__(self, name: str, *flags: str) -> None:
        package = import_bcc()
        try:
            self._bpf = compiled(bytes(BPF / f"{name}.bpf.c"), [f"-I{BPF}", *flags])
            self.fd = self._bpf.load_func(name.encode(), package.BPF.XDP).fd
        except Exception as error:  # BCC raises no narrower class.
            raise UserError(f"BCC could not build or load bpf/{name}.bpf.c: {error}") from None

    def table(self, name: str) -> Any:
        """Return a map of BCC's by its name in the C file.

        BCC makes ctypes structures of the C structs: ``Leaf`` is the type of a value, ``Key`` that of a key.
        """
        return self._bpf.get_table(name)

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map."""
        return import_bcc().lib.bpf_table_fd(self._bpf.module, name.encode())

    def close(self) -> None:
        """Close the program and its maps. The kernel keeps them while they are attached or pinned."""
        self._bpf.cleanup()
