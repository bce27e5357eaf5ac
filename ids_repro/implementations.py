"""The implementations of the classifiers. Every table, figure, measurement and comparison reads this list.

CONTRIBUTING.md says what else a new one needs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Implementation:
    """One row of Tables II and III.

    Parameters
    ----------
    label : str
        Its name in tables and legends.
    struct : str
        The C struct of the model that it reads, as a name for `models.model.Model.params`. Empty if it is the float
        model itself.
    where : {"python", "c", "kernel"}
        What runs it: Python, C in user space, or the loaded XDP program.
    reference : str
        The row of the float model that it implements: "dt_sklearn" or "nn_pytorch".
    optimise : str
        The compiler's optimisation of its C. The released code was built with -O0. Such a row gives the same verdicts,
        so only its time is measured.
    variant : str
        The program of a kernel row, as a name in `kernel.variants.VARIANTS`.
    """

    label: str
    struct: str
    where: str
    reference: str
    optimise: str = "-O2"
    variant: str = ""


# In the order of Table II: its four rows (DT and NN in Python and C), then rows that the paper does not have.
IMPLEMENTATIONS = {
    "dt_sklearn": Implementation("DT (sklearn)", "", "python", "dt_sklearn"),
    "nn_pytorch": Implementation("NN (PyTorch)", "", "python", "nn_pytorch"),
    "dt_c": Implementation("DT (C)", "dt", "c", "dt_sklearn"),
    "nn_q16_c": Implementation("NN (C, q16)", "nn_q16", "c", "nn_pytorch"),
    "nn_fused_c": Implementation("NN (C, fused)", "nn_fused", "c", "nn_pytorch"),
    "nn_float_c": Implementation("NN (C, float)", "nn_float", "c", "nn_pytorch"),
    "dt_kernel": Implementation("DT (kernel)", "dt", "kernel", "dt_sklearn", variant="dt"),
    "nn_q16_kernel": Implementation("NN (kernel, q16)", "nn_q16", "kernel", "nn_pytorch", variant="nn_q16_packed"),
    "nn_fused_kernel": Implementation(
        "NN (kernel, fused)", "nn_fused", "kernel", "nn_pytorch", variant="nn_fused_packed"
    ),
    "dt_c_O0": Implementation("DT (C, -O0)", "dt", "c", "dt_sklearn", optimise="-O0"),
    "nn_q16_c_O0": Implementation("NN (C, q16, -O0)", "nn_q16", "c", "nn_pytorch", optimise="-O0"),
}


# The two parts of a detector (`models.detector`), which is in no table of the paper's.
DETECTORS = {
    "dt_deep": Implementation("Detector (tree)", "dt", "kernel", "dt_sklearn", variant="dt_deep"),
    "nn_log2": Implementation("Detector (NN)", "nn_log2", "kernel", "nn_pytorch", variant="nn_log2_packed"),
}


def rows_in(*places: str, optimise: str = "-O2") -> dict[str, Implementation]:
    """Return the implementations that run in these places and were compiled with this optimisation, by row.

    Parameters
    ----------
    *places : {"python", "c", "kernel"}
    optimise : str
        Such as "-O0".
    """
    return {row: one for row, one in IMPLEMENTATIONS.items() if one.where in places and one.optimise == optimise}


def label(row: str) -> str:
    """Return a row's name in tables; the row itself if it is no implementation."""
    every = IMPLEMENTATIONS | DETECTORS
    return every[row].label if row in every else row


def row_in_c(row: str) -> str:
    """Return the user-space row that computes the same integers as a kernel row, such as "dt_c" for "dt_kernel"."""
    return next(name for name, one in rows_in("c").items() if one.struct == IMPLEMENTATIONS[row].struct)
