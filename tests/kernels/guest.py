"""Runs in the virtual machine: measure every variant, and print each record as a line."""

import json
import sys
from pathlib import Path

from ids_repro.config import INTERIM, MODELS
from ids_repro.data import packets
from ids_repro.evaluate import kernels
from ids_repro.models.model_file import model_path, read_model


def main(n: int, identity: dict) -> None:
    """Compare on n vectors and on the capture that is there."""
    models = {2: read_model(model_path("binary", 0, MODELS)), 7: read_model(model_path("multi", 0, MODELS))}
    models[kernels.DETECTOR] = read_model(model_path("detector", 0, MODELS))
    capture = packets.read(INTERIM / "part.pcap")
    for record in kernels.measure(models, capture, n, identity, Path("data/results") / kernels.KERNELS.name):
        print(json.dumps(record), flush=True)


main(int(sys.argv[1]), json.loads(sys.argv[2]))
