"""BCC: build a variant of bpf/ids.bpf.c, load it, run it on given packets, swap its model. The only importer of bcc."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import ModuleType

import numpy as np

from . import attach, headers, native
from .config import BPF, UserError
from .export import MLP_Q16
from .proginfo import prog_info, stack_bytes
from .syscalls import syscall
from .testbed import Host, require_root
from .variants import COUNTS, FLOW, GENERATIONS, PROBE, SAMPLE, SLOTS, VERDICTS, Variant

DIST_PACKAGES = "/usr/lib/python3/dist-packages"
PROG_TEST_RUN, MEMBARRIER_GLOBAL = 10, 1
LAYERS = (2, 3)  # of the paper's layout; the first is in ids_main
_RING_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_MIN_FRAME = 64
_PROBES_AT_ONCE = 20_000  # of some 350 bytes each


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
            secret = f"-DIDS_SECRET={secrets.randbits(64)}ULL"  # see ids_fold in bpf/parse.h
            self._bpf = bcc.BPF(src_file=bytes(BPF / "ids.bpf.c"), cflags=[*variant.flags(), secret])
            self._function = self._bpf.load_func(b"ids_main", self._kind)
            self._layers = [
                self._bpf.load_func(f"ids_layer{n}".encode(), self._kind) for n in LAYERS if variant.layout == "paper"
            ]
        except Exception as error:  # BCC raises nothing narrower
            raise UserError(
                f"BCC could not build or load bpf/ids.bpf.c as {variant}: {error}. Does this kernel allow BPF "
                "(CONFIG_BPF_SYSCALL, no lockdown)? What the compiler or the verifier said stands above."
            ) from None
        self._lib, self._cpus = bcc.lib, len(bcc.utils.get_possible_cpus())
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

    def _map(self, name: str) -> int:
        # not self._bpf[name]: BCC trips over int8 arrays when it decodes the leaf's type
        return self._lib.bpf_table_fd(self._bpf.module, name.encode())

    def leaf_size(self, name: str) -> int:
        """Bytes of one entry of a map."""
        return self._lib.bpf_table_leaf_size(self._bpf.module, name.encode())

    def _write(self, name: str, key: int, leaf: bytes | np.ndarray) -> None:
        value = ctypes.c_char_p(leaf if isinstance(leaf, bytes) else leaf.tobytes())
        if self._lib.bpf_update_elem(self._map(name), ctypes.byref(ctypes.c_int(key)), value, 0):
            raise OSError(f"bpf_update_elem failed on {name}")

    def _read(self, name: str, key: int, leaves: np.ndarray) -> np.ndarray:
        if self._lib.bpf_lookup_elem(
            self._map(name), ctypes.byref(ctypes.c_int(key)), ctypes.c_void_p(leaves.ctypes.data)
        ):
            raise OSError(f"bpf_lookup_elem failed on {name}")
        return leaves

    @property
    def generation(self) -> int:
        """Number of the model that decides now; the first is 0."""
        return int(self._read("generation", 0, np.zeros(1, np.uint64))[0])

    def set_params(self, params: bytes) -> None:
        """Put a model, as a C struct, into the BPF map in place of the current generation's (Sec. IV-B, step u3).

        For a program under traffic, use `swap`: here a packet may see half of either model.

        Raises
        ------
        UserError
            If the struct is of another kind or another number of classes.
        """
        if self.variant.layout == "paper":
            return self._set_elements(params)
        if self.variant.params is None or len(params) != self.leaf_size("params"):
            raise UserError(f"this model has {len(params)} bytes, not what {self.variant} takes: quantize it again")
        return self._write("params", self.generation % SLOTS, params)

    def _set_elements(self, params: bytes) -> None:
        """The paper's layout: each parameter is a map element."""
        if len(params) != MLP_Q16.itemsize:
            raise UserError(f"this model has {len(params)} bytes, not what {self.variant} takes: quantize it again")
        at = MLP_Q16.fields["w"][1]
        elements = np.concatenate([np.frombuffer(params[:at], np.int64), np.frombuffer(params[at:], np.int8)])
        for key, element in enumerate(elements):
            self._write("parameters", key, element.tobytes())

    def swap(self, params: bytes) -> int:
        """Replace the model under traffic: no packet is classified by a mixture of two (Sec. IV-B).

        Generation g stands in slot g mod 2, and a packet takes its slot by reading the generation once. So the new
        model is written to the slot that no packet reads; what could still read it, packets that began before the last
        swap, has ended after an RCU grace period, for which membarrier(2) waits.

        Returns
        -------
        int
            The new generation, under which its verdicts are counted.

        Raises
        ------
        UserError
            If the struct is of another kind, or the layout is the paper's, which has no second slot.
        """
        if self.variant.layout == "paper":
            raise UserError("the paper's layout cannot swap a model at once: it has a map element a parameter")
        if self.variant.params is None or len(params) != self.leaf_size("params"):
            raise UserError(f"this model has {len(params)} bytes, not what {self.variant} takes: quantize it again")
        number = self.generation + 1
        syscall("membarrier", MEMBARRIER_GLOBAL, 0, 0)
        self._write("params", number % SLOTS, params)
        self._retire(number % GENERATIONS)
        self._write("generation", 0, np.array([number], np.uint64))
        return number

    def _retire(self, key: int) -> None:
        """Add a generation's verdicts to those of all before, and make its place free."""
        old = self._per_cpu("verdicts", key, VERDICTS)
        self._write("retired", 0, self._read("retired", 0, np.zeros(1, VERDICTS))["n"] + old["n"])
        self._write("verdicts", key, np.zeros(self._cpus, VERDICTS))

    def _per_cpu(self, name: str, key: int, dtype: np.dtype) -> np.void:
        """One entry of a per-CPU map, summed over CPUs."""
        leaves, total = self._read(name, key, np.zeros(self._cpus, dtype)), np.zeros((), dtype)
        for field in dtype.names:
            total[field] = leaves[field].sum(axis=0)
        return total[()]

    def counts(self) -> np.void:
        """Packets and outcomes since the last `reset`, summed over CPUs; dtype COUNTS."""
        return self._per_cpu("counts", 0, COUNTS)

    def verdicts(self, generation: int | None = None) -> np.ndarray:
        """Verdicts of each class since the last `reset`, of all generations or of one of the last 16.

        Returns
        -------
        ndarray of shape (8,), uint64
        """
        if generation is not None:
            return self._per_cpu("verdicts", generation % GENERATIONS, VERDICTS)["n"]
        kept = sum(self._per_cpu("verdicts", key, VERDICTS)["n"] for key in range(GENERATIONS))
        return kept + self._read("retired", 0, np.zeros(1, VERDICTS))["n"][0]

    def flows(self) -> np.ndarray:
        """The flow table as it is now; shape (n_flows,), dtype FLOW."""
        table = self._bpf[b"flows"]
        return np.array([np.frombuffer(bytes(leaf), FLOW)[0] for leaf in table.values()], FLOW)

    def samples(self) -> np.ndarray:
        """Take what lies in the ring buffer of the action "redirect"; shape (n,), dtype SAMPLE."""
        taken: list[bytes] = []

        @_RING_CALLBACK
        def take(_context: int, data: int, size: int) -> int:
            taken.append(ctypes.string_at(data, size))
            return 0

        ring = self._lib.bpf_new_ringbuf(self._map("samples"), take, None)
        self._lib.bpf_consume_ringbuf(ring)
        self._lib.bpf_free_ringbuf(ring)
        return np.frombuffer(b"".join(taken), SAMPLE)

    def reset(self) -> None:
        """Set the counts to zero and forget all flows."""
        self._write("counts", 0, np.zeros(self._cpus, COUNTS))
        for key in range(GENERATIONS):
            self._write("verdicts", key, np.zeros(self._cpus, VERDICTS))
        self._write("retired", 0, np.zeros(1, VERDICTS))
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
        syscall("bpf", PROG_TEST_RUN, ctypes.byref(attr), ctypes.sizeof(attr))
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
        """Attach to a host's interface and detach at the end; see `attach.attach`."""
        host.call(lambda: attach.attach(self.fd, host.iface, mode))
        try:
            yield
        finally:
            host.call(lambda: attach.detach(host.iface, mode))


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
