"""Records -> tables, figures and the report.

The modules here may import only the top-level modules of `ids_repro`: no PyTorch, scikit-learn or BCC is loaded, and no
root is needed.
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
