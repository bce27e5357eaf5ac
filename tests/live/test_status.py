"""The status table, and what looking at a program may load."""

import subprocess
import sys

from ids_repro import config
from ids_repro.live.status import table

FOUND = {
    "iface": "eth0",
    "mode": "xdp_drv",
    "since": 0.0,
    "missing": [],
    "classifier": "nn",
    "arithmetic": "q16",
    "n_classes": 2,
    "action": "count",
    "packets": 12345,
    "packets_per_s": 678.9,
    "ns_per_packet": 123.4,
    "reasons": {"ok": 12340, "not IP": 5, "fragment": 0},
    "lost": 6,
    "mean_length": 1234.5,
    "flows": 7,
    "flows_max": 65536,
    "new_flows_per_s": 12.3,
    "evicted_unproven": 0,
    "evicted_proven": 8,
    "generation": 1,
    "verdicts": {"Normal": 12000, "Attack": 340},
    "flagged": None,
    "flagged_per_min": None,
    "models": [
        {
            "generation": 0,
            "file": "a.npz",
            "sha256": "a" * 64,
            "mean_length": None,
            "verdicts": {"Normal": 12000, "Attack": 0},
        },
        {
            "generation": 1,
            "file": "b.npz",
            "sha256": "b" * 64,
            "mean_length": 567.8,
            "verdicts": {"Normal": 0, "Attack": 340},
        },
    ],
}
TABLE = """\
packets                 12,345         679 /s
  ok                    12,340
  not IP                     5
flows                        7  of 65,536, timed-out ones included
  new                                   12 /s
  evicted unproven           0
  evicted proven             8
ns per packet              123
mean length              1,235  byte; the model was trained on 568
verdicts              Normal        Attack  model
  >gen. 1                  0           340  b.npz bbbbbbbbbbbb
   gen. 0             12,000             0  a.npz aaaaaaaaaaaa
  all                 12,000           340"""


def test_the_table_of_a_net_that_counts():
    head, *rest = table(FOUND).splitlines()
    assert head.startswith("eth0: nn, q16, 2 classes, on xdp-drv, action count, since 19")
    assert "\n".join(rest) == TABLE


def test_suspects_that_were_lost_are_told_where_the_action_is_redirect():
    assert "lost suspects                6" in table(FOUND | {"action": "redirect"}).splitlines()


def test_a_tree_has_no_arithmetic_and_without_packets_there_is_no_time():
    text = table(FOUND | {"classifier": "dt", "ns_per_packet": None})
    assert text.startswith("eth0: dt, 2 classes")
    assert f"{'ns per packet':14}{'no packet':>16}" in text.splitlines()


def test_a_mean_length_stands_beside_that_of_the_training_if_both_are_known():
    older = [model | {"mean_length": None} for model in FOUND["models"]]
    assert f"{'mean length':14}{'1,235':>16}  byte" in table(FOUND | {"models": older}).splitlines()
    assert "mean length" not in table(FOUND | {"mean_length": None})


def test_looking_at_a_program_loads_neither_pytorch_nor_scikit_learn_nor_bcc():
    code = "import sys, ids_repro.live.status; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True, check=True)
    assert "ids_repro.live.status" in done.stdout.split()
    assert not {"torch", "sklearn", "bcc"} & set(done.stdout.split())


def test_flows_that_a_detector_flagged_are_told_by_class():
    flagged = {"flagged": {"Botnet": 1, "DoS": 1234}, "flagged_per_min": {"Botnet": 0.0, "DoS": 60.4}}
    lines = table(FOUND | flagged).splitlines()
    assert "flagged Botnet               1           0 flows/min" in lines
    assert "flagged DoS              1,234          60 flows/min" in lines
