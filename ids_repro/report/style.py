"""How every figure looks: names and looks of the methods, size, fonts, where its numbers come from, and its files."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from .. import config, records
from . import classification

# Sec. V-B1, in the order of Fig. 5; below them what the paper does not have. {n}: the workers of the records; the paper
# has 24.
METHODS = {
    "no_filter": "No Filter",
    "xdp_drv_flow": "XDP_DRV (Flow Extraction)",
    "xdp_drv_nn_fused": "XDP_DRV (NN fused)",
    "xdp_drv_dt": "XDP_DRV (DT)",
    "tc_nn_fused": "TC (NN fused)",
    "xdp_skb_nn_fused": "XDP_SKB (NN fused)",
    "rawsock1_nn_fused": "1-core Rawsocket (NN fused)",
    "rawsockN_nn_fused": "{n}-core Rawsocket (NN fused)",
    "xdp_drv_nn_q16_paper": "XDP_DRV (NN q16, paper's layout)",
    "afxdp_nn_fused": "AF_XDP (NN fused)",
}
# Colours of Okabe and Ito and of Tol; those of one panel differ for readers of any colour vision (tests/test_plots.py).
# Line styles for those who print in grey.
LOOKS = {
    "no_filter": ("#000000", "-"),
    "xdp_drv_flow": ("#009e73", (0, (5, 1.2))),
    "xdp_drv_nn_fused": ("#0072b2", "-"),
    "xdp_drv_dt": ("#e69f00", (0, (4, 1, 1, 1))),
    "tc_nn_fused": ("#56b4e9", (0, (5, 1.2))),
    "xdp_skb_nn_fused": ("#d55e00", (0, (4, 1, 1, 1))),
    "rawsock1_nn_fused": ("#cc79a7", (0, (1, 1))),
    "rawsockN_nn_fused": ("#882255", (0, (2.5, 1))),
    "xdp_drv_nn_q16_paper": ("#a05a2c", (0, (1, 1))),
    "afxdp_nn_fused": ("#332288", (0, (3, 1, 1, 1, 1, 1))),
}
# What sent a point is its marker's shape, whether each packet was a new flow its filling.
GENERATORS = {"live_frames": ("o", "live frames"), "hping3": ("s", "hping3")}
FLOWS = {"new": "a new flow a packet", "one": "one flow"}
COLUMN_IN = 3.5  # the width of one column of a paper set in two
STYLE = {
    "font.family": "sans-serif",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.frameon": False,
    "legend.fontsize": 6.5,
    "svg.hashsalt": "ids_repro",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}


class Chart(Figure):
    """A figure that a notebook shows without pyplot, which would keep it open; `footer` says where it comes from."""

    footer: Text | None = None

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(file, format="png")
        return file.getvalue()


def method_name(method: str, trials: pd.DataFrame | None = None) -> str:
    """Return the paper's name of a method, with the number of cores its trials really had."""
    workers = [] if trials is None else trials.loc[trials["method"] == method, "workers"]
    return METHODS.get(method, method).format(n=f"{max(workers):.0f}" if len(workers) else "N")


def save(figure: Chart, name: str, folder: Path = config.FIGURES) -> list[Path]:
    """Write a figure as .svg, .png and .pdf, the same bytes for the same records, and return their paths.

    The .pdf is for a paper: its footer is in the file's properties ("Subject"), not on the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("svg", "png", "pdf")]
    with mpl.rc_context(STYLE):
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], metadata={"Software": None})
        text = figure.footer.get_text()
        figure.footer.set_text("")
        figure.savefig(paths[2], metadata={"CreationDate": None, "Creator": None, "Producer": None, "Subject": text})
        figure.footer.set_text(text)
    return paths


def footer(figure: Chart, rows: Iterable[Mapping[str, Any]], kind: str, without: str) -> None:
    """Write under a figure where its numbers come from, or `without` if there are no records of that kind."""
    facts = classification.circumstances(records.current(rows, kind))
    known = "; ".join(f"{name} {facts[name]}" for name in ("profile", "machine", "kernel", "commit") if name in facts)
    text = f"{kind}.jsonl: {known}" if facts else without
    text = "\n".join(textwrap.wrap(text, int(29 * figure.get_figwidth())))
    figure.footer = figure.supxlabel(text, fontsize=4.5, color="0.45", x=0.01, ha="left")
