"""Records -> tables, figures and the report.

This room imports only the files at the top of the package. It loads no PyTorch, scikit-learn or BCC and needs no root.
Every table and figure is an `exhibit.Exhibit`; `page.sections` lists them all.
"""

__all__ = [
    "exhibit",
    "style",
    "classification",
    "kernel_cost",
    "sweep_points",
    "sweep_figures",
    "throughput",
    "claims",
    "packet_by_packet",
    "discrepancies",
    "page",
]
