"""Count the flows of each class, beside the paper's, and record them for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .. import config, published, records
from ..data.dataset import Dataset


def by_class(data: Dataset) -> dict[str, int]:
    """Return the number of flows of each class, from vectors of any choice that has one of each flow."""
    _, first = np.unique(data.flow, return_index=True)
    return data.take(first).counts()


def table(data: Dataset) -> pd.DataFrame:
    """Set the flows of each class beside the paper's.

    Parameters
    ----------
    data : Dataset
        At least one vector of each flow.

    Returns
    -------
    DataFrame
        Indexed by "all", "normal", "attack" and the classes: "flows", "paper" (Sec. III-C), "training flows" (8/15 of
        the flows), "released models" (the flows that these were trained on), and, if the data is the paper's, "same":
        whether they are the same to within 1 % or what the draw of the training part explains.
    """
    counts, lines = by_class(data), {}
    for count in published.flow_counts(counts):
        whole = count.of not in config.CLASSES
        names = ("flows", "paper") if whole else ("training flows", "released models")
        lines[count.of] = {"flows": counts.get(count.of, 0)} | dict(
            zip(names, (round(count.ours), count.paper), strict=True)
        )
        if data.meta["name"] == published.published()["dataset"]:
            lines[count.of]["same"] = count.same
    frame = pd.DataFrame.from_dict(lines, orient="index")
    numbers = ["flows", "paper", "training flows", "released models"]
    return frame.astype(dict.fromkeys(numbers, "Int64"))[[*numbers, *frame.columns.difference(numbers)]]


def record(data: Dataset, results: Path = config.RESULTS) -> pd.DataFrame:
    """Append the flows of each class to flows.jsonl, unless they are there already, and return `table`.

    Parameters
    ----------
    data : Dataset
        At least one vector of each flow.
    results : Path
        The folder of records.
    """
    asked = data.named() | {"flow_rules": data.meta.get("parameters", {}).get("flow_rules", "text")}
    path, identity = Path(results) / "flows.jsonl", {"data_hash": data.meta["sha256"]}
    if records.key(asked, identity) not in records.done(path, "flows"):
        records.append(path, "flows", asked, {"flows_by_class": by_class(data), "unit": "flows"}, identity=identity)
    return table(data)
