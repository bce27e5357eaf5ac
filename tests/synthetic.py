"""Made-up records for tests of tables, figures and the report. None of them was measured."""

import numpy as np

from ids_repro import config, records
from ids_repro.sweep.methods import METHODS

# A method that is not named here has 300,000 packets/s.
CAPACITIES_PPS = dict.fromkeys(METHODS.keys() - {"xdp_drv_nn_fused_lru"}, 300e3) | {
    "no_filter": 900e3,
    "xdp_drv_flow": 700e3,
    "xdp_drv_nn_fused": 380e3,
    "xdp_drv_dt": 620e3,
    "tc_nn_fused": 340e3,
    "xdp_skb_nn_fused": 350e3,
    "rawsock1_nn_fused": 190e3,
    "rawsockN_nn_fused": 330e3,
    "afxdp_nn_fused": 360e3,
}
RATES_PPS = {10: 90e3, 5: 180e3, 2: 290e3, 1: 480e3, 0: 820e3}
FRAMES_PPS = (100e3, 300e3, 700e3, 900e3, 3e6)
TIMES_NS = {"python_single": 40_000.0, "c_loop": 300.0, "ctypes_single": 700.0}


def accuracy(path, seeds=3, rows=("dt_sklearn", "nn_pytorch", "dt_c", "nn_q16_c", "nn_q16_kernel"), **asked):
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
    """Append times of inference."""
    ways = {"dt_sklearn": ["python_single"], "nn_pytorch": ["python_single"]}
    for task in config.TASKS:
        for row in ("dt_sklearn", "nn_pytorch", "dt_c", "nn_q16_c"):
            for how in ways.get(row, ["c_loop", "ctypes_single"]):
                raw = {"ns_per_inference": [TIMES_NS[how] * factor for factor in (0.9, 1, 1, 1.1, 5)]}
                records.append(path, "inference", {"task": task, "row": row, "how": how}, raw)


def sweep(path, repeats=2, capacities=None, rates=None):
    """Append a sweep by hping3, with the fields that records had before live frames; `frames` appends today's."""
    for method, capacity in (capacities or CAPACITIES_PPS).items():
        for interval, rate in (rates or RATES_PPS).items():
            for repeat in range(repeats):
                asked = {"method": method, "generator": "hping3", "interval_us": interval, "repeat": repeat}
                _trial(path, asked | {"trial_s": 1.0}, int(rate * (1 + repeat / 100)), capacity)


def frames(path, repeats=3, capacities=None, rates=FRAMES_PPS, flows="new", trial_s=1.0, differences=0):
    """Append a sweep by live frames, with today's fields; each repeat of a method is 1% slower than the one before.

    A replay differs from user space in so many verdicts in each trial that loses nothing.
    """
    for method, capacity in (capacities or CAPACITIES_PPS).items():
        for rate in rates:
            for repeat in range(repeats):
                asked = {"method": method, "generator": "live_frames", "interval_us": None, "rate_pps": int(rate)}
                asked |= {"flows": flows, "repeat": repeat, "trial_s": trial_s}
                _trial(path, asked, int(rate), capacity * (1 - repeat / 100), differences)


def _trial(path, asked, sent, capacity, differences=0):
    received, busy = int(min(sent, capacity)), min(100.0, 100 * sent / capacity)
    raw = {
        "duration_s": 1.0,
        "sent_packets": sent,
        "received_packets": received,
        "dropped_packets": {"link": sent - received, "socket": 0, "queue": 0},
        "cpu_percent": {"usr": 0.0, "sys": busy / 4, "soft": busy * 3 / 4, "idle": 100 - busy},
        "verdicts": [received, 0],
        "workers": 8 if asked["method"] == "rawsockN_nn_fused" else 1,
        "held": f"napi thread {sent} on cpu 1",
    }
    if asked.get("flows") == "replay":
        offline = {"verdicts": [sent, 0], "reasons": [sent, *[0] * 7]}
        raw |= {"reasons": [received, *[0] * 7], "offline": offline}
        raw["differences"] = None if received < sent else differences
    records.append(path, "sweep", asked, raw, identity={"profile": "smoke"})


def costs(folder):
    """Append the cost of a packet, for each variant and for two sizes of the flow table."""
    for traffic, more in (("one_flow", 0), ("new_flows", 40)):
        for variant, ns in {"empty": 20, "flow": 80, "nn_q16_paper": 1900, "nn_fused_packed": 180}.items():
            raw = {"ns_per_packet": [ns + more - 1, ns + more, ns + more + 3], "verified_insns": 10 * ns}
            raw |= {"xlated_bytes": 40 * ns, "jited_bytes": 25 * ns, "stack_bytes": 128}
            asked = {"variant": variant, "traffic": traffic, "profile": "smoke"}
            records.append(folder / "kernel_cost.jsonl", "kernel_cost", asked, raw)
        for entries in (1024, 65536):
            asked = {"flows_entries": entries, "traffic": traffic, "classifier": "flow", "profile": "smoke"}
            raw = {"ns_per_packet": [80, 81, 90]}
            records.append(folder / "flow_churn.jsonl", "flow_churn", asked, raw)
    asked = {"variant": "nn_float_user", "traffic": "one_flow", "profile": "smoke"}
    records.append(folder / "kernel_cost.jsonl", "kernel_cost", asked, {"ns_per_packet": [150.0, 160.0]})


def everything(folder):
    """Write records of every kind and a failed trial, and return them all."""
    accuracy(folder / "accuracy.jsonl")
    inference(folder / "inference.jsonl")
    sweep(folder / "sweep.jsonl")
    frames(folder / "sweep.jsonl")
    costs(folder)
    asked = {"method": "tc_nn_fused", "generator": "hping3", "repeat": 0}
    records.append(folder / "sweep.jsonl", "sweep", asked, {}, status="failed", reason="hping3 <ended> 1")
    return records.read(folder)
