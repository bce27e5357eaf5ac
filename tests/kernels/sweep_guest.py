"""Runs in the virtual machine that is the server: a small sweep with the other as the client; records are printed."""

import json
import sys
from pathlib import Path

from ids_repro.config import MODELS, profile
from ids_repro.models.model_file import model_path, read_model
from ids_repro.sweep.link_ssh import TwoMachines
from ids_repro.sweep.run import run_sweep

METHODS = "xdp_drv_nn_fused,tc_nn_fused,no_filter"


def main(client: str) -> None:
    """Send for a second with hping3, and with live frames, at rates that emulated processors reach."""
    rates = {"rates_pps": (2000,), "churn_pps": (), "replay_pps": ()}
    few = profile("smoke", intervals_us=(1000,), **rates, resolution=0, repeats=1, trial_s=1)
    over = TwoMachines(f"ssh://root@{client}", "eth1", "eth1", ssh_config=Path("ssh_config"))
    model = read_model(model_path("binary", 0, MODELS))
    for record in run_sweep(model, few, METHODS, over=over):
        print(json.dumps(record), flush=True)


main(sys.argv[1])
