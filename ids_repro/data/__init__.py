"""Turn captures and labels into a dataset: packets, their flows, the twelve features and the label of each flow.

This package may import `ids_repro.native` and the files at the top of `ids_repro`.
"""

__all__ = [
    "byte_stream",
    "dataset",
    "extract",
    "extract_many",
    "feature_file",
    "features",
    "flow",
    "labels",
    "packet_table",
    "packets",
]
