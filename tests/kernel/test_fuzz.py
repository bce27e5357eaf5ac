"""The kernel and user space agree on random and changed frames, and the sanitizers find nothing in user space.

`make fuzz` runs these tests for longer: with N frames and N runs of libFuzzer's target, from the seed SEED.
"""

import os
import shutil
import struct
import subprocess
from functools import lru_cache

import made_captures as made
import numpy as np
import pytest
from label_files import SHARED
from loaded_programs import program
from parser_cases import KINDS, ROWS
from tqdm.auto import tqdm

from ids_repro import config
from ids_repro.data import packets
from ids_repro.evaluate.rows import KERNEL_PROGRAMS
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import HOOKS
from ids_repro.native import library
from ids_repro.native.layouts import PROBE, REASONS

N, SEED = int(os.environ.get("N", "50000")), int(os.environ.get("SEED", "1"))
# The kernel's flow table evicts the oldest flow when it is full, and user space's table evicts none. A batch makes
# fewer flows than the kernel's table holds, so that the two stay equal.
BATCH = 10_000
WIDTH = 384  # bytes of a frame
TYPES = np.array([0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x0806, 0x05DC], ">u2").view(np.uint8).reshape(-1, 2)
IP_BYTES = (0x45, 0x46, 0x4F, 0x44, 0x60, 0x65, 0, 1, 5, 31, 127, 128, 255)
BYTES = np.array([*KINDS, 6, 17, 1, 58, 59, 50, *IP_BYTES], np.uint8)
TAGGED = (0, 4, 8)  # bytes of VLAN tags in front of a field
FIELDS = (14, 15, 17, 19, 20, 21, 23, 34, 36, 47, 54, 55, 56, 57, 62, 63)  # where fields lie in a frame without tags
STEPS_NS = np.array([0, 1, 999, 1000, 10**6, 10**9, -(10**6), 301 * 10**9])
STEPS_P = [0.1, 0.2, 0.2, 0.2, 0.2, 0.0795, 0.02, 0.0005]


@lru_cache
def seeds() -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of the parser's table and some of each real capture, shape (n, WIDTH), and their lengths."""
    frames = [frame for row in ROWS.values() for frame, _ in row]
    for path in (config.SAMPLE, *sorted(SHARED.glob("*.pcap"))):
        real = packets.read(path, ipv6=True).headers()
        frames += real[:: -(-len(real) // 50)]
    matrix, sizes = made.padded([frame[:WIDTH] for frame in frames])
    return np.pad(matrix, ((0, 0), (0, WIDTH - matrix.shape[1]))), sizes


def changed(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n frames made of seeds, and their lengths.

    Bytes, fields and EtherTypes are changed, ends are replaced by those of other seeds, and lengths are cut or grown.
    One frame in twenty is entirely random.
    """
    matrix, sizes = seeds()
    pick = rng.integers(len(matrix), size=n)
    out, size = matrix[pick], sizes[pick].astype(np.int64)

    def some(part: float) -> np.ndarray:
        return np.flatnonzero(rng.random(n) < part)

    tail = some(0.1)
    other = matrix[rng.integers(len(matrix), size=len(tail))]
    begin = rng.integers(WIDTH // 4, size=(len(tail), 1))
    out[tail] = np.where(np.arange(WIDTH) < begin, out[tail], other)
    for part in (0.3, 0.2, 0.1):
        at = some(part)
        out[at, rng.integers(WIDTH // 4, size=len(at))] = rng.integers(256, size=len(at))
        at = some(part)
        out[at, rng.choice(FIELDS, len(at)) + rng.choice(TAGGED, len(at))] = rng.choice(BYTES, len(at))
    at = some(0.15)
    where = 12 + rng.choice(TAGGED, len(at))
    out[at[:, None], where[:, None] + [0, 1]] = rng.choice(TYPES, len(at))
    noise = some(0.05)
    out[noise] = rng.integers(256, size=(len(noise), WIDTH))
    typed = noise[::2]
    out[typed, 12:14] = rng.choice(TYPES, len(typed))
    cut = some(0.2)
    size[cut] = rng.integers(size[cut] + 1)
    size[some(0.1)] = WIDTH
    return out, size.astype(np.uint32)


def compare(loaded: Program, n: int) -> dict[str, int]:
    """Count the frames by reason, those that began a flow ("first"), and those on which kernel and user space differ.

    A frame is a difference if the reason, a feature, or whether it began a flow is not the same.
    """
    rng, found = np.random.default_rng(SEED), dict.fromkeys((*REASONS, "first", "differences"), 0)
    with tqdm(total=n, desc=f"fuzzing {loaded.variant.hook}", unit="frame", delay=1) as bar:
        for start in range(0, n, BATCH):
            frames, sizes = changed(rng, min(BATCH, n - start))
            probes = np.zeros(len(frames), PROBE)
            probes["now_ns"] = 10**18 + np.cumsum(rng.choice(STEPS_NS, len(frames), p=STEPS_P))
            loaded.reset()
            seen = loaded.probe(probes, [f[:size].tobytes() for f, size in zip(frames, sizes, strict=True)])
            rows, reasons = library.parse(frames, sizes)
            ok = reasons == 0
            rows["ts_ns"] = probes["now_ns"]
            x, flow = library.extract(rows[ok])
            first = np.diff(np.maximum.accumulate(flow.astype(np.int64)), prepend=-1) > 0
            wrong = seen["reason"] != reasons
            wrong[ok] |= (seen["x"][ok] != x).any(axis=1) | (seen["first"][ok] != first)
            for reason, many in zip(REASONS, np.bincount(reasons, minlength=len(REASONS)), strict=True):
                found[reason] += int(many)
            found["first"] += int(first.sum())
            found["differences"] += int(wrong.sum())
            bar.update(len(frames))
    return found


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("hook", HOOKS)
def test_kernel_and_user_space_agree_on_changed_frames(hook):
    found = compare(program(hook, probe=True), N)
    print(hook, found)
    assert found["differences"] == 0, found
    assert all(found[reason] > N // 200 for reason in REASONS), found
    assert N // 20 < found["first"] < found["ok"]


@pytest.mark.root
@pytest.mark.bpf
def test_a_difference_would_be_seen(monkeypatch):
    right = library.parse

    def wrong(*frames):
        rows, reasons = right(*frames)
        rows["dport"][rows["dport"] == 80] = 81
        return rows, reasons

    monkeypatch.setattr(library, "parse", wrong)
    assert compare(program("xdp", probe=True), BATCH)["differences"] > 100


def test_the_sanitizers_find_nothing_in_user_space(tmp_path, models, detector):
    target, corpus = tmp_path / "fuzz_user", tmp_path / "corpus"
    flags = ["-g", "-O1", "-fwrapv", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    source = config.ROOT / "tests/kernel/fuzz_user.c"
    subprocess.run([shutil.which("clang"), *flags, f"-I{config.BPF}", str(source), "-o", str(target)], check=True)
    corpus.mkdir()
    for k, row in enumerate(ROWS.values()):
        for link in range(14):
            entry = b"".join(struct.pack("<BBH", link, 20, len(f)) + f for f, _ in row[:2] + row[-2:])
            (corpus / f"{k}-{link}").write_bytes(entry)
    for name in KERNEL_PROGRAMS:
        (tmp_path / name).write_bytes(models["multi"].params(name))
    (tmp_path / "nn_log2").write_bytes(detector.params("nn_log2"))
    done = subprocess.run(
        [target, f"-runs={N}", f"-seed={SEED}", "-max_len=4096", "-print_final_stats=1", corpus],
        env=os.environ | {"IDS_MODELS": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    print(done.stderr[-600:])
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {N} runs" in done.stderr
