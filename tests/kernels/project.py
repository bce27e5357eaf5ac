"""The second disk of a virtual machine: this project, models, a part of the lab capture, and what to run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from ids_repro.config import BUILD, ROOT, SAMPLE, TASKS
from ids_repro.data import packets
from ids_repro.data.byte_stream import ByteStream
from ids_repro.files import private_folder
from ids_repro.models import detector, pipeline
from ids_repro.models.model_file import model_path, save_model
from ids_repro.text import say

from . import image

CACHE = BUILD / "kernels"
PACKETS = 2000


@contextlib.contextmanager
def project_disk(run: str, files: Iterable[Path], results: Path) -> Iterator[Path]:
    """Make a disk with the project, models, a part of the sample, and what to run.

    Parameters
    ----------
    run : str
        Shell commands; the disk is their working directory.
    files : iterable of Path
        What they need besides.
    results : Path
        Records that are there already.
    """
    models = saved_models()
    with private_folder(CACHE / "project") as folder:
        tree = folder / "project"
        for name in ("ids_repro", "bpf"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(models, tree / "data/models")
        for name in ("interim", "results"):
            (tree / "data" / name).mkdir()
        (tree / "data/interim/part.pcap").write_bytes(part_of_sample(PACKETS))
        if results.exists():
            shutil.copyfile(results, tree / "data/results" / results.name)
        for file in files:
            shutil.copyfile(file, tree / file.name)
        (tree / "guest.sh").write_text(f"{run}\n")
        (tree / ".venv/bin").mkdir(parents=True)
        (tree / ".venv/bin/python").write_text('#!/bin/sh\nPYTHONPATH=/project exec /usr/bin/python3 "$@"\n')
        (tree / ".venv/bin/python").chmod(0o755)
        disk = folder / "project.ext4"
        image.made_disk(tree, disk, 256 << 20)
        yield disk


def saved_models(folder: Path = CACHE / "models") -> Path:
    """Return a folder with a model of each task and a detector, which are trained at the first time."""
    if not model_path("detector", 0, folder).exists():
        say("Training models to compare with (a minute, once) ...")
        for model in (*(pipeline.any_model(task) for task in TASKS), detector.any_detector()):
            save_model(model, folder)
    return folder


def part_of_sample(n: int) -> bytes:
    """Return the first n packets of the lab capture as a pcap file."""
    rows = packets.read(SAMPLE).rows
    with ByteStream(SAMPLE) as source:
        return source.all_bytes().tobytes()[: rows["offset"][n] - 16]  # a record's header has 16 bytes
