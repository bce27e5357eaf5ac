"""Measure packets per second and memory of `ids_repro extract`. This is a benchmark, not a test.

    make bench-extract

The captures are made from the sample, which is repeated with shifted time stamps and addresses, up to 5 and 20 million
packets. Each run is a new process on one CPU, with the capture in the page cache. The files are removed at the end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ids_repro import config
from ids_repro.data import packets

RUN = """
import os, re, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from ids_repro.__main__ import main
main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
SPACE_LEFT = 5 << 30  # bytes that must stay free beside the capture


def make(sample: Path, target: Path, n_packets: int) -> None:
    """Write a pcap file of `n_packets`: the sample again and again, each time later and with other addresses."""
    capture = packets.read(sample)
    frames, ts_us = capture.headers(), capture.rows["ts_ns"] // 1000
    starts, block = [], bytearray()
    for frame, row in zip(frames, capture.rows, strict=True):
        starts.append(len(block) + 16)
        block += struct.pack("<IIII", 0, 0, len(frame), row["caplen"]) + frame
    block, starts = np.frombuffer(bytes(block), np.uint8).copy(), np.array(starts)
    span_us = int(ts_us.max() - ts_us.min()) + 1
    address = starts[:, None] + [27, 28, 31, 32]  # second and third byte of the source and destination addresses
    original = block[address].astype(np.int64)
    with target.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1))
        for k in range(-(-n_packets // len(starts))):
            m = min(len(starts), n_packets - k * len(starts))
            now = ts_us + k * span_us
            stamp = np.stack([now // 10**6, now % 10**6], axis=1).astype("<u4")
            block[(starts - 16)[:, None] + np.arange(8)] = stamp.view(np.uint8)
            block[address] = (original + np.array([k, k >> 8, k, k >> 8])) & 255
            end = len(block) if m == len(starts) else starts[m] - 16
            file.write(block[:end])


def measure(path: Path, options: list[str]) -> dict:
    """Run the command once in a new process; return its counts, its peak memory [MiB] and its file's size [MB]."""
    out = path.with_suffix(".parquet")
    command = [sys.executable, "-c", RUN, "extract", str(path), "--out", str(out), "--json", *options]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    counts, peak_kb = found.stdout.split("\n")[:2]
    return json.loads(counts) | {"peak_mb": int(peak_kb) / 1024, "out_mb": out.stat().st_size / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=Path, default=config.SAMPLE)
    parser.add_argument("--packets", type=int, nargs="+", default=[5_000_000, 20_000_000])
    parser.add_argument("--runs", type=int, default=3)
    args, options = parser.parse_known_args()
    config.BUILD.mkdir(exist_ok=True)
    for n in args.packets:
        with tempfile.TemporaryDirectory(dir=config.BUILD) as folder:
            path = Path(folder) / "bench.pcap"
            needed = n * 160 + SPACE_LEFT
            if shutil.disk_usage(folder).free < needed:
                raise SystemExit(f"{config.BUILD}: {needed >> 30} GB must be free for {n:,} packets")
            make(args.sample, path, n)
            subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)  # into the page cache
            runs = [measure(path, options) for _ in range(args.runs)]
            rates = [run["packets_per_s"] / 1e6 for run in runs]
            print(
                f"{runs[0]['packets']:,} packets ({path.stat().st_size / 1e9:.2f} GB), {runs[0]['flows']:,} flows: "
                f"{statistics.median(rates):.2f} million packets/s ({min(rates):.2f} to {max(rates):.2f}, "
                f"{len(rates)} runs); at most {max(run['peak_mb'] for run in runs):.0f} MB resident; "
                f"{runs[0]['out_mb']:.0f} MB written",
                flush=True,
            )


if __name__ == "__main__":
    main()
