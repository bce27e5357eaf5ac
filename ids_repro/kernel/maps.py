"""Read and write the maps of a loaded variant: counts, verdicts, flows, suspects, and the model in its two slots.

The maps are known by their file descriptors. So this serves a program that was just built (`program.Program`) as well
as one that another process built and pinned (package live).
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from ..config import UserError
from ..native.layouts import BUCKET, COUNTS, GENERATIONS, SLOTS, SUSPECT, VERDICTS, WAYS, mlp_q16
from ..network import facts
from . import ring
from .bpf_syscall import read_all, read_element, wait_for_grace_period, write_element
from .info import map_info
from .variants import Variant

NOW, RETIRED = 0, 1  # entries of "generation": which decides now, and how many of the first are in "retired"
RING_SUSPECTS = 4096  # more than the ring buffer holds


@cache
def possible_cpus() -> int:
    """Return for how many CPUs the kernel keeps an entry in a per-CPU map."""
    return len(facts.cpu_set(Path("/sys/devices/system/cpu/possible").read_text()))


class Maps:
    """The maps of a loaded variant.

    Parameters
    ----------
    variant : Variant
        How the program was built.
    fds : mapping of str to int
        File descriptors of its maps by the names that they have in bpf/ids.bpf.c, at least those of `names`.

    Attributes
    ----------
    variant : Variant
        How the program was built.
    fds : mapping of str to int
        File descriptors of its maps by name.
    """

    def __init__(self, variant: Variant, fds: Mapping[str, int]) -> None:
        self.variant, self.fds = variant, fds

    @staticmethod
    def names(variant: Variant) -> tuple[str, ...]:
        """Return the names of the maps of a variant that user space reads or writes."""
        packed = variant.params is not None and variant.layout == "packed"
        model = ("params",) * packed + ("parameters", "layers") * (variant.layout == "paper")
        suspects = ("suspects",) * (variant.action == "redirect" or variant.evidence)
        table = ("flows",) if variant.table == "lru" else ("buckets", "entries")
        return (*table, "counts", "verdicts", "retired", "generation", *model, *suspects)

    def leaf_size(self, name: str) -> int:
        """Return the size of one entry of a map [byte], in a per-CPU map for one CPU."""
        return int(map_info(self.fds[name])["value_size"])

    def _write(self, name: str, key: int, leaf: bytes | np.ndarray) -> None:
        write_element(self.fds[name], key, leaf)

    def _read(self, name: str, key: int, leaves: np.ndarray) -> np.ndarray:
        return read_element(self.fds[name], key, leaves)

    @property
    def generation(self) -> int:
        """Number of the model that classifies now. The first is 0, and each `swap` adds 1."""
        return self._number(NOW)

    def _number(self, key: int) -> int:
        return int(self._read("generation", key, np.zeros(1, np.uint64))[0])

    def set_params(self, params: bytes) -> None:
        """Write a model over the one that classifies now (Sec. IV-B, step u3).

        Use `swap` for a program under traffic: during this call a packet may be classified by parts of both models.

        Parameters
        ----------
        params : bytes
            The C struct of the model (`models.model.Model.params`).

        Raises
        ------
        UserError
            If the struct does not have the size that the variant expects. A model of two classes has the same size as
            one of seven; the caller must choose the right one.
        """
        self.require(params)
        if self.variant.layout == "packed":
            return self._write("params", self.generation % SLOTS, params)
        # In the paper's layout each parameter is a map element.
        at = mlp_q16(self.variant.hidden).fields["w"][1]
        elements = np.concatenate([np.frombuffer(params[:at], np.int64), np.frombuffer(params[at:], np.int8)])
        for key, element in enumerate(elements):
            self._write("parameters", key, element.tobytes())
        return None

    def require(self, params: bytes) -> None:
        """Check that a struct has the size that the variant expects.

        Parameters
        ----------
        params : bytes
            The C struct of a model.

        Raises
        ------
        UserError
            If it has another size, or if the variant has no classifier.
        """
        if self.variant.layout == "paper":
            size = mlp_q16(self.variant.hidden).itemsize
        else:
            size = 0 if self.variant.params is None else self.leaf_size("params")
        if len(params) != size:
            raise UserError(f"this model has {len(params)} bytes, not what the program reads: quantize it again")

    def swap(self, params: bytes) -> int:
        """Replace the model under traffic; no packet is classified by parts of two models (Sec. IV-B).

        Generation g uses slot g mod 2. A packet reads the generation once and keeps that slot. Before a slot is
        overwritten, membarrier(2) waits out an RCU grace period, so no packet still reads it.

        Parameters
        ----------
        params : bytes
            The C struct of the new model.

        Returns
        -------
        int
            The new generation; the verdicts of the new model are counted under it.

        Raises
        ------
        UserError
            If the struct does not have the size that the variant expects, or if the variant has the paper's layout,
            which has no second slot.
        """
        if self.variant.layout == "paper":
            raise UserError("the paper's layout has a map element for each parameter, so it swaps no model at once")
        self.require(params)
        number = self.generation + 1
        wait_for_grace_period()
        self._write("params", number % SLOTS, params)
        self._retire(number)
        self._write("generation", NOW, np.array([number], np.uint64))
        return number

    def _retire(self, number: int) -> None:
        """Free the place in "verdicts" for a new generation: what the one before counted there goes into "retired".

        A kill at any step, or a reader at any moment, must not count it twice or never. So the sum is written into the
        entry of "retired" that no reader looks at. Then one number says which entry holds, for how many generations.
        """
        leaving = number - GENERATIONS
        if leaving >= self._number(RETIRED):  # else there is none yet, or a swap was killed after this
            total = self._read("retired", leaving % 2, np.zeros(1, VERDICTS))
            old = self._per_cpu("verdicts", leaving % GENERATIONS, VERDICTS)
            for name in VERDICTS.names:
                total[name] += old[name]
            self._write("retired", (leaving + 1) % 2, total)
            self._write("generation", RETIRED, np.array([leaving + 1], np.uint64))
        self._write("verdicts", number % GENERATIONS, np.zeros(possible_cpus(), VERDICTS))

    def _per_cpu(self, name: str, key: int, dtype: np.dtype) -> np.void:
        """Return one entry of a per-CPU map, summed over the CPUs."""
        leaves, total = self._read(name, key, np.zeros(possible_cpus(), dtype)), np.zeros((), dtype)
        for field in dtype.names:
            total[field] = leaves[field].sum(axis=0)
        return total[()]

    def counts(self) -> np.void:
        """Return what was counted since the last `reset`.

        Returns
        -------
        numpy.void, dtype COUNTS
            Packets, packets by reason (index into KERNEL_REASONS) and by what became of their flow (index into FOUND),
            suspects lost because the ring buffer was full, and the length of the packets that were parsed [byte]; each
            summed over the CPUs.
        """
        return self._per_cpu("counts", 0, COUNTS)

    def by_generation(self) -> tuple[np.void, dict[int, np.void]]:
        """Return what was counted since the last `reset`, exactly also while another process swaps the model.

        Returns
        -------
        retired : numpy.void, dtype VERDICTS
            Of all generations that are not in the second value.
        kept : dict of int to numpy.void, dtype VERDICTS
            Of each of the last 16 generations, by its number; of 15 while a model is swapped.
        """
        while True:
            first, now = self._number(RETIRED), self.generation
            retired = self._read("retired", first % 2, np.zeros(1, VERDICTS))[0]
            kept = {n: self._per_cpu("verdicts", n % GENERATIONS, VERDICTS) for n in range(first, now + 1)}
            if self._number(RETIRED) == first:
                return retired, kept

    def verdicts(self, generation: int | None = None) -> np.ndarray:
        """Return the number of verdicts of each class since the last `reset`.

        Parameters
        ----------
        generation : int, optional
            Count only the verdicts of this generation, which must be one of the last 16. All are counted by default.

        Returns
        -------
        ndarray of shape (8,), uint64
            The class is the index; indices beyond the number of classes hold 0.
        """
        return self._of_generation("n", generation)

    def flagged(self, generation: int | None = None) -> np.ndarray:
        """Return how many flows a detector flagged, by the class that it gave the packet that raised the alarm.

        Parameters
        ----------
        generation : int, optional
            See `verdicts`.

        Returns
        -------
        ndarray of shape (8,), uint64
        """
        return self._of_generation("flagged", generation)

    def _of_generation(self, what: str, generation: int | None) -> np.ndarray:
        retired, kept = self.by_generation()
        return retired[what] + sum(one[what] for one in kept.values()) if generation is None else kept[generation][what]

    def flows_held(self) -> int:
        """Return how many flows the flow table holds; one that has timed out counts until its place is taken."""
        if self.variant.table == "lru":
            return self._read_lru()
        return int(np.count_nonzero(self._buckets()["tag"]))

    def _forget_flows(self) -> None:
        if self.variant.table == "lru":
            self._read_lru(delete=True)
        else:
            buckets = self._buckets(mmap.PROT_READ | mmap.PROT_WRITE)
            for name in set(BUCKET.names) - {"lock"}:  # a CPU may hold it now
                buckets[name] = 0

    def _buckets(self, access: int = mmap.PROT_READ) -> np.ndarray:
        """Map the kernel's own memory of the buckets: an array of shape (n_buckets,), dtype BUCKET."""
        size = self.variant.flows // WAYS * BUCKET.itemsize
        return np.frombuffer(mmap.mmap(self.fds["buckets"], size, prot=access), BUCKET)

    def _read_lru(self, delete: bool = False) -> int:
        """Read the map that variants with ``table="lru"`` have, and return how many flows it holds."""
        info = map_info(self.fds["flows"])
        n = int(info["max_entries"])
        keys, leaves = np.zeros(n, f"V{info['key_size']}"), np.zeros(n, f"V{info['value_size']}")
        return sum(read_all(self.fds["flows"], keys, leaves, delete))

    def suspects(self, most: int = RING_SUSPECTS, wait_ms: int = 0) -> np.ndarray:
        """Take the suspects out of the ring buffer, where the action "redirect" and detectors put them.

        Parameters
        ----------
        most : int
            Take this many at most. The limit makes the call end, however fast suspects arrive.
        wait_ms : int
            How long to wait for a suspect if there is none [ms].

        Returns
        -------
        ndarray of shape (n,), dtype SUSPECT

        Raises
        ------
        OSError, UserError
            See `ring.take`.
        """
        return np.frombuffer(ring.take(self.fds["suspects"], most, wait_ms), SUSPECT)

    def reset(self) -> None:
        """Set all counts to zero and delete all flows; the model stays."""
        self._write("counts", 0, np.zeros(possible_cpus(), COUNTS))
        for key in range(GENERATIONS):
            self._write("verdicts", key, np.zeros(possible_cpus(), VERDICTS))
        for key in range(2):
            self._write("retired", key, np.zeros(1, VERDICTS))
        self._forget_flows()
