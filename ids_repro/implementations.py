"""The implementations of the classifiers, one line each: every table, figure, measurement and comparison reads this.

A new implementation is a new line here and, in `evaluate.rows`, what classifies with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Implementation:
    """One row of Tables II and III.

    Parameters
    ----------
    label : str
        What tables and legends call it.
    struct : str
        The C struct of a model that it reads (a name for `models.model.Model.params`); empty: the float model itself.
    where : {"python", "c", "kernel"}
        What runs it: Python, C in user space, or the loaded XDP program.
    reference : str
        The row of the float model that it implements: "dt_sklearn" or "nn_pytorch".
    optimise : str
        How its C was compiled. The released code was built with -O0, so that only its time is measured.
    variant : str
        Of a kernel row: its program, a name in `kernel.variants.VARIANTS`.
    """

    label: str
    struct: str
    where: str
    reference: str
    optimise: str = "-O2"
    variant: str = ""


# In the order of Table II; below its four rows what the paper does not have.
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


def rows_in(*places: str, optimise: str = "-O2") -> dict[str, Implementation]:
    """Return the implementations that run in these places and were compiled so, by row."""
    return {row: one for row, one in IMPLEMENTATIONS.items() if one.where in places and one.optimise == optimise}


def label(row: str) -> str:
    """Return what tables call a row; of a row that is not known here, its name."""
    return IMPLEMENTATIONS[row].label if row in IMPLEMENTATIONS else row


def row_in_c(row: str) -> str:
    """Return the user-space row with the same integers as a kernel row, such as "dt_c" for "dt_kernel"."""
    return next(name for name, one in rows_in("c").items() if one.struct == IMPLEMENTATIONS[row].struct)
