"""A capture that live frames replay: the frames to send, and what user space says of their packets.

The capture is sent over and over, at whatever rate. Each frame has the length of its packet and brings the time of its
packet along (bpf/frame_clock.h), from which the kernel program computes the features. After the last packet comes the
first again, so much later that every flow has timed out. So each packet gets the verdict of user space, each time.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ROOT, SAMPLE, UserError
from ..data import packets
from ..data.flow import IDLE_US
from ..files import require_file
from ..models.model import Model
from ..models.verdicts import verdicts
from ..native import library
from ..native.layouts import KERNEL_REASONS, REASONS_SIZE, REPLAYED

LONGEST = 1514  # bytes of a frame: Ethernet's usual most
LENGTH_AT, CHECKSUM_AT = 2, 10  # of the packet, in an IPv4 header
MOST_PACKETS = 1 << 20  # each takes 112 bytes of the kernel's memory
CLOCK_US = 1 << 46  # the times that a frame can bring along end here


class Replay:
    """A capture to be replayed. It is read when it is first needed.

    Parameters
    ----------
    path : Path
        Its IPv4 packets are sent, in the order of the file. 96 bytes of each are its own, and zeros follow. A frame
        that is longer than `LONGEST`, because its sender left segmentation to the card, is cut to that. The length of
        the packet is in its IP header, where the classifier reads it; that header's checksum is wrong on purpose.
    most : int
        How many packets the capture may have.
    """

    def __init__(self, path: Path = SAMPLE, most: int = MOST_PACKETS) -> None:
        self.path, self._most = path, most
        self._verdicts: dict[tuple[str, str], np.ndarray] = {}

    @cached_property
    def capture(self) -> packets.Capture:
        """The packets.

        Raises
        ------
        UserError
            As `packets.read` does, or if there are too many.
        """
        found = packets.read(self.path)
        if len(found.rows) > self._most:
            text = (
                f"{len(found.rows):,} packets, and at most {self._most:,} can be replayed: save fewer to another file"
            )
            raise UserError(f"{self.path}: {text} (editcap -r FILE OTHER 1-{self._most})")
        return found

    @cached_property
    def _sha256(self) -> str:
        require_file(self.path)
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def named(self) -> dict[str, str]:
        """Return what records of trials that replay it say of it."""
        return {"capture": self.path.name, "capture_sha256": self._sha256}

    @cached_property
    def _at_us(self) -> np.ndarray:
        us = self.capture.rows["ts_ns"].astype(np.int64) // 1000
        return us - us.min()

    @property
    def pass_us(self) -> int:
        """How much later the capture begins again [us]: a flow that is idle for so long has timed out."""
        return int(self._at_us.max()) + IDLE_US + 1_000_000

    @property
    def own_pps(self) -> float:
        """The rate at which the packets were captured [packets/s].

        Raises
        ------
        UserError
            If all have one time.
        """
        if not self._at_us.max():
            raise UserError(f"{self.path}: its packets have one time, and so no rate of their own: give packets/s")
        return len(self._at_us) * 1e6 / int(self._at_us.max())

    def _require_room(self, sent: float) -> None:
        passes, n = CLOCK_US // self.pass_us - 2, len(self.capture.rows)  # a pass begins the run, and one ends it
        if sent > passes * n:
            few = f"{n:,} packets, and a trial may send them {passes:,} times: a frame has no room for later times"
            raise UserError(f"{self.path}: {few}; replay a longer capture, or at most {passes * n:,} packets a trial")

    def command(self, sent: float = 0) -> dict[str, str]:
        """Return what `load_agent` needs to know of it. A path in the project counts from the client's own checkout.

        Parameters
        ----------
        sent : float
            How many packets will be sent at most.

        Raises
        ------
        UserError
            If these are so many passes that the times of the last ones do not fit into a frame.
        """
        self._require_room(sent)
        path = self.path.resolve()
        within = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        return {"capture": str(within), "sha256": self.capture.sha256}

    def frames(self, target: bytes) -> np.ndarray:
        """Return the frames to send.

        Parameters
        ----------
        target : bytes
            MAC address of the receiver, which takes the place of each frame's own.

        Returns
        -------
        ndarray of shape (n_packets,), dtype REPLAYED
        """
        rows, room = self.capture.rows, REPLAYED["head"].shape[0]
        frames = [target + frame[len(target) :] for frame in self.capture.headers()]
        out = np.zeros(len(rows), REPLAYED)
        heads = b"".join(frame[:room].ljust(room, b"\0") for frame in frames)
        out["head"] = np.frombuffer(heads, np.uint8).reshape(-1, room)
        out["at_us"] = self._at_us
        kept = np.minimum(rows["caplen"] - rows["ip_at"], packets.HEADER_BYTES)
        ip_at = np.array([len(frame) for frame in frames]) - kept  # behind an Ethernet header and its VLAN tags
        out["len"] = np.minimum(ip_at + rows["len"], LONGEST)
        _write16(out["head"], ip_at + LENGTH_AT, rows["len"])  # it may be 0, if segmentation was left to the card
        # GRO would hold some packets back, and so change their order, if their headers' checksums were right.
        words = np.take_along_axis(out["head"], ip_at[:, None] + np.arange(20), axis=1).view(">u2").astype(np.int64)
        total = words.sum(axis=1) - words[:, CHECKSUM_AT // 2]
        total = (total & 0xFFFF) + (total >> 16)
        _write16(out["head"], ip_at + CHECKSUM_AT, ~((total & 0xFFFF) + (total >> 16)) ^ 1)
        return out

    def verdicts(self, model: Model, struct: str) -> np.ndarray:
        """Return what user space says of each packet, with a flow table that never forgets a live flow."""
        key = (model.sha256(), struct)
        if key not in self._verdicts:
            x, flow = library.extract(self.capture.rows)
            found = library.predict(struct, model.params(struct), model.n_classes, x, hidden=model.hidden)
            self._verdicts[key] = verdicts(model, struct, found, flow).astype(np.int64)
        return self._verdicts[key]

    def offline(self, model: Model, struct: str | None, n: int) -> dict[str, list[int]]:
        """Return what user space counts for the first n packets that are sent.

        Parameters
        ----------
        model : Model
        struct : str, optional
            Name of the integer model that classifies.
        n : int
            May be more than the capture has.

        Returns
        -------
        dict
            "verdicts": packets of each class; zeros if nothing classifies. "reasons": packets by KERNEL_REASONS; the
            capture's are all "ok", because others are not read from the file.
        """
        classes = np.zeros(model.n_classes, np.int64)
        if struct is not None:
            each = self.verdicts(model, struct)
            passes, rest = divmod(n, len(each))
            classes += passes * np.bincount(each, minlength=len(classes))
            classes += np.bincount(each[:rest], minlength=len(classes))
        reasons = np.zeros(REASONS_SIZE, np.int64)
        reasons[KERNEL_REASONS.index("ok")] = n
        return {"verdicts": classes.tolist(), "reasons": reasons.tolist()}


LAB = Replay()


def _write16(heads: np.ndarray, at: np.ndarray, value: np.ndarray) -> None:
    """Write a 16-bit number to each row, from a byte of it on, in network byte order."""
    for byte, shift in ((0, 8), (1, 0)):
        heads[np.arange(len(heads)), at + byte] = value >> shift & 255


def compared(raw: dict[str, Any], offline: dict[str, list[int]]) -> dict[str, Any]:
    """Return what a replay adds to the raw values of its trial.

    Parameters
    ----------
    raw : dict
        What a trial counted, with "verdicts" and "reasons".
    offline : dict
        What `Replay.offline` returns for the packets that were sent.

    Returns
    -------
    dict
        "offline": that. "differences": by how much the counts of the classes and of the reasons differ, summed; None if
        packets were lost, because then the kernel program has not seen the same ones.
    """
    lost = raw["sent_packets"] != raw["received_packets"]
    apart = [abs(ours - theirs) for name in offline for ours, theirs in zip(raw[name], offline[name], strict=True)]
    return {"offline": offline, "differences": None if lost else sum(apart)}
