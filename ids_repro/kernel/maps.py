"""The maps of a loaded variant, by file descriptors: counts, verdicts, flows, suspects, and the model in its slots.

A program that was just built (`kernel.Program`) and one that another process pinned (`live.Live`) have the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from ..config import UserError
from ..native.layouts import COUNTS, FLOW, GENERATIONS, MLP_Q16, SLOTS, SUSPECT, VERDICTS
from ..network import facts
from .bcc import libbcc
from .bpf_syscall import read_all, read_element, wait_for_grace_period, write_element
from .info import map_info
from .variants import Variant

RING_SUSPECTS = 4096  # more than the ring buffer holds
_RING_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)


@cache
def possible_cpus() -> int:
    """How many CPUs the kernel keeps an entry for in a per-CPU map."""
    return len(facts.cpu_set(Path("/sys/devices/system/cpu/possible").read_text()))


class Maps:
    """What user space does with a loaded variant.

    Parameters
    ----------
    variant : Variant
    fds : mapping of str to int
        File descriptors of its maps by their names in bpf/ids.bpf.c, at least `names(variant)`.
    """

    def __init__(self, variant: Variant, fds: Mapping[str, int]) -> None:
        self.variant, self.fds = variant, fds

    @staticmethod
    def names(variant: Variant) -> tuple[str, ...]:
        """The maps that user space reads or writes."""
        packed = variant.params is not None and variant.layout == "packed"
        model = ("params",) * packed + ("parameters", "layers") * (variant.layout == "paper")
        suspects = ("suspects",) * (variant.action == "redirect")
        return ("flows", "counts", "verdicts", "retired", "generation", *model, *suspects)

    def leaf_size(self, name: str) -> int:
        """Bytes of one entry of a map."""
        return int(map_info(self.fds[name])["value_size"])

    def _write(self, name: str, key: int, leaf: bytes | np.ndarray) -> None:
        write_element(self.fds[name], key, leaf)

    def _read(self, name: str, key: int, leaves: np.ndarray) -> np.ndarray:
        return read_element(self.fds[name], key, leaves)

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
            If the struct is of another kind. (For two and seven classes it has one size: the caller knows which.)
        """
        self.require(params)
        if self.variant.layout == "packed":
            return self._write("params", self.generation % SLOTS, params)
        # the paper's layout: each parameter is a map element
        at = MLP_Q16.fields["w"][1]
        elements = np.concatenate([np.frombuffer(params[:at], np.int64), np.frombuffer(params[at:], np.int8)])
        for key, element in enumerate(elements):
            self._write("parameters", key, element.tobytes())
        return None

    def require(self, params: bytes) -> None:
        """Raise UserError unless this is the struct that the variant takes."""
        paper = self.variant.layout == "paper"
        if self.variant.params is None or len(params) != (MLP_Q16.itemsize if paper else self.leaf_size("params")):
            raise UserError(f"this model has {len(params)} bytes, not what {self.variant} takes: quantize it again")

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
        self.require(params)
        number = self.generation + 1
        wait_for_grace_period()
        self._write("params", number % SLOTS, params)
        self._retire(number % GENERATIONS)
        self._write("generation", 0, np.array([number], np.uint64))
        return number

    def _retire(self, key: int) -> None:
        """Add a generation's verdicts to those of all before, and make its place free."""
        old = self._per_cpu("verdicts", key, VERDICTS)
        self._write("retired", 0, self._read("retired", 0, np.zeros(1, VERDICTS))["n"] + old["n"])
        self._write("verdicts", key, np.zeros(possible_cpus(), VERDICTS))

    def _per_cpu(self, name: str, key: int, dtype: np.dtype) -> np.void:
        """One entry of a per-CPU map, summed over CPUs."""
        leaves, total = self._read(name, key, np.zeros(possible_cpus(), dtype)), np.zeros((), dtype)
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
        return self.retired() + sum(self._per_cpu("verdicts", key, VERDICTS)["n"] for key in range(GENERATIONS))

    def retired(self) -> np.ndarray:
        """Verdicts of each class of the generations before the last 16; see `verdicts`."""
        return self._read("retired", 0, np.zeros(1, VERDICTS))["n"][0]

    def flows(self) -> np.ndarray:
        """The flow table as it is now; shape (n_flows,), dtype FLOW."""
        return self._all_flows()

    def _all_flows(self, delete: bool = False) -> np.ndarray:
        info = map_info(self.fds["flows"])
        n = int(info["max_entries"])
        keys, leaves = np.zeros(n, f"V{info['key_size']}"), np.zeros(n, FLOW)
        batches = read_all(self.fds["flows"], keys, leaves, delete)
        return np.concatenate([leaves[:count].copy() for count in batches])

    def suspects(self, most: int = RING_SUSPECTS, wait_ms: int = 0) -> np.ndarray:
        """Take what lies in the ring buffer of the action "redirect"; shape (n,), dtype SUSPECT.

        Parameters
        ----------
        most : int
            Leave what is more; so this ends, however fast packets come.
        wait_ms : int
            If nothing lies there, how long to wait for something [ms].
        """
        taken: list[bytes] = []

        @_RING_CALLBACK
        def take(_context: int, data: int, size: int) -> int:
            taken.append(ctypes.string_at(data, size))
            return 0 if len(taken) < most else -1

        lib = libbcc()
        ring = lib.bpf_new_ringbuf(self.fds["suspects"], take, None)
        if not ring:
            raise OSError("the ring buffer could not be mapped")
        try:
            lib.bpf_poll_ringbuf(ring, wait_ms)
        finally:
            lib.bpf_free_ringbuf(ring)
        return np.frombuffer(b"".join(taken), SUSPECT)

    def reset(self) -> None:
        """Set the counts to zero and forget all flows."""
        self._write("counts", 0, np.zeros(possible_cpus(), COUNTS))
        for key in range(GENERATIONS):
            self._write("verdicts", key, np.zeros(possible_cpus(), VERDICTS))
        self._write("retired", 0, np.zeros(1, VERDICTS))
        self._all_flows(delete=True)
