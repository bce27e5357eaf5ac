"""Change files at random, for the tests that no file of somebody else's can crash a command or fill the memory.

Each of these tests runs for some seconds; IDS_FUZZ_S=600 makes it ten minutes. Input number N is the same in every run,
and the last one stays in the test's folder, so that it is there after a crash too.
"""

import contextlib
import os
import random
import re
import resource
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ids_repro.config import UserError

SECONDS = float(os.environ.get("IDS_FUZZ_S", 5))
FIRST = int(os.environ.get("IDS_FUZZ_FIRST", 0))  # number of the first input
MOST_S, MOST_BYTES = 10.0, 256 << 20  # for one input: time, and memory beside what the tests themselves need
ROOM = 8 << 30  # address space beside it: allocators reserve much more than they use
NUMBERS = sorted({sign * (2**bits + one) for bits in range(64) for one in (-1, 0, 1) for sign in (-1, 1)})
NUMBERS = [number for number in NUMBERS if -(2**63) <= number < 2**63]
TOKENS = (
    b"\0",
    b"\xff" * 8,
    b"\0" * 16,
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"\r\n",
    b'"',
    b",",
    b"..",
    b"\xef\xbb\xbf",
)


def changed(rng: random.Random, data: bytes, others: Sequence[bytes], tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Return bytes with some random changes: bits, bytes, numbers, and parts that are cut, doubled or foreign."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 9))):
        at, size = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 4, 8, 16, 64, 1024))
        part = out[at : at + size]
        match rng.randrange(9):
            case 0 if part:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if part:
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                width = rng.choice((2, 4, 8))
                number = rng.choice(NUMBERS) % (1 << 8 * width)
                out[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = part * rng.choice((1, 1, 2, 50))
            case 5:
                out[at:at] = rng.choice(tokens)
            case 6:
                other = rng.choice(others)
                begin = rng.randrange(len(other) + 1)
                out[at : at + size] = other[begin : begin + rng.choice((size, 4 * size))]
            case 7 if rng.random() < 0.3:
                del out[at:]
            case 8:
                out[at : at + size] = rng.randbytes(len(part))
    return bytes(out)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Let this process have no more than ROOM more of address space."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def memory(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    found = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) << 10


class Rounds:
    """The inputs of one test: iterate for a random generator for each; `ends` counts how they ended.

    Raises
    ------
    AssertionError
        If an input took longer than MOST_S or more memory than MOST_BYTES.
    """

    def __init__(self) -> None:
        self.ends, self.number = Counter(), FIRST

    def __iter__(self) -> Iterator[random.Random]:
        end = time.monotonic() + SECONDS
        with little_memory():
            while (begin := time.monotonic()) < end:
                Path("/proc/self/clear_refs").write_text("5")  # the peak of the memory is that from here on
                before = memory("VmRSS")
                yield random.Random(self.number)
                assert time.monotonic() - begin < MOST_S, f"input {self.number} took too long"
                assert memory("VmHWM") - before < MOST_BYTES, f"input {self.number} took too much memory"
                self.number += 1

    @contextlib.contextmanager
    def refusal(self) -> Iterator[None]:
        """Run the body, which may end in one sentence; every other end is a finding, a warning too."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                yield
            except UserError as error:
                text = str(error)
                assert "\n" not in text and 0 < len(text) < 2_000, f"input {self.number}: {text!r}"
                self.ends["refused"] += 1
            except Exception as error:
                raise AssertionError(f"input {self.number}: {type(error).__name__}: {error}") from error
            else:
                self.ends["accepted"] += 1
