"""Made-up records for tests of tables, figures and report; nothing here was measured."""

import numpy as np

from ids_repro import config, records

CAPACITIES_PPS = {
    "no_filter": 900e3,
    "xdp_drv_flow": 700e3,
    "xdp_drv_nn": 380e3,
    "xdp_drv_dt": 620e3,
    "tc_nn": 340e3,
    "xdp_skb_nn": 350e3,
    "rawsock1_nn": 190e3,
    "rawsockN_nn": 330e3,
}
RATES_PPS = {10: 90e3, 5: 180e3, 2: 290e3, 1: 480e3, 0: 820e3}
TIMES_NS = {"python_single": 40_000.0, "c_loop": 300.0, "ctypes_single": 700.0}


def accuracy(path, seeds=3, rows=("dt_sklearn", "nn_pytorch", "dt_c", "nn_c_q16", "nn_kernel"), **asked):
    """Append confusion matrices in which no flow is of class Infiltration."""
    draw = np.random.default_rng(0)
    for task, classes in config.TASKS.items():
        for row in rows:
            for seed in range(seeds):
                confusion = draw.integers(0, 9, (len(classes),) * 2) + np.diag(draw.integers(100, 900, len(classes)))
                if task == "multi":
                    confusion[classes.index("Infiltration")] = 0
                what = {"task": task, "row": row, "seed": seed, "dataset": "lab capture", "profile": "smoke"} | asked
                records.append(path, "accuracy", what, {"confusion": confusion, "unit": "flows"})


def inference(path):
    ways = {"dt_sklearn": ["python_single"], "nn_pytorch": ["python_single"]}
    for task in config.TASKS:
        for row in ("dt_sklearn", "nn_pytorch", "dt_c", "nn_c_q16"):
            for how in ways.get(row, ["c_loop", "ctypes_single"]):
                raw = {"ns_per_inference": [TIMES_NS[how] * factor for factor in (0.9, 1, 1, 1.1, 5)]}
                records.append(path, "inference", {"task": task, "row": row, "how": how}, raw)


def sweep(path, repeats=2, capacities=None):
    for method, capacity in (capacities or CAPACITIES_PPS).items():
        for interval, rate in RATES_PPS.items():
            for repeat in range(repeats):
                sent = int(rate * (1 + repeat / 100))
                received, busy = int(min(sent, capacity)), min(100.0, 100 * rate / capacity)
                what = {
                    "method": method,
                    "generator": "hping3",
                    "interval_us": interval,
                    "repeat": repeat,
                    "trial_s": 1.0,
                }
                raw = {
                    "duration_s": 1.0,
                    "sent_packets": sent,
                    "received_packets": received,
                    "dropped_packets": {"link": sent - received, "socket": 0, "queue": 0},
                    "cpu_percent": {"usr": 0.0, "sys": busy / 4, "soft": busy * 3 / 4, "idle": 100 - busy},
                    "verdicts": [received, 0],
                    "workers": 8 if method == "rawsockN_nn" else 1,
                }
                records.append(path, "sweep", what, raw, identity={"profile": "smoke"})


def everything(folder):
    accuracy(folder / "accuracy.jsonl")
    inference(folder / "inference.jsonl")
    sweep(folder / "sweep.jsonl")
    records.append(folder / "sweep.jsonl", "sweep", {"method": "tc_nn"}, {}, status="failed", reason="hping3 <ended> 1")
    return records.read(folder)
