"""Measure every implementation without traffic: accuracy, time and bit-for-bit equality become records.

The modules may import the packages `data`, `models`, `kernel` and `native`, and the files at the top.
"""

__all__ = [
    "accuracy",
    "calibration_methods",
    "discrepancies",
    "kernel_cost",
    "packet_by_packet",
    "parity",
    "parity_vectors",
    "released_code",
    "replay",
    "rows",
    "timing",
]
