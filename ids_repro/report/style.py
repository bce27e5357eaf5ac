"""How every figure looks and becomes files: names and looks of the methods, size, fonts, the footer."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

# The paper's names (Sec. V-B1) with the net's arithmetic, in the order of Fig. 5; below them what the paper does not
# have. {n}: the workers of the records; the paper has 24.
METHODS = {
    "no_filter": "No Filter",
    "xdp_drv_flow": "XDP_DRV (Flow Extraction)",
    "xdp_drv_nn_fused": "XDP_DRV (NN fused)",
    "xdp_drv_dt": "XDP_DRV (DT)",
    "tc_nn_fused": "TC (NN fused)",
    "xdp_skb_nn_fused": "XDP_SKB (NN fused)",
    "rawsock1_nn_fused": "1-core Rawsocket (NN fused)",
    "rawsockN_nn_fused": "{n}-core Rawsocket (NN fused)",
    "xdp_drv_nn_q16_paper": "XDP_DRV (NN q16)",
    "afxdp_nn_fused": "AF_XDP (NN fused)",
}
NETS = (
    "NN fused is our arithmetic. NN q16 is the paper's, in the layout of its released code: a map element for each "
    "parameter and a program for each layer."
)
# Colours of Okabe and Ito and of Tol. Those of one panel differ for readers of any colour vision, as
# tests/report/test_style.py checks. Line styles are for those who print in grey.
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
# A marker's shape says what sent, its filling whether each packet started a new flow.
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
    "axes.titley": 1.0,  # where Matplotlib would put it anyway; it searches for the place in every pass otherwise
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

# What draws each kind of file, and what the file says of itself. No dates and no names of programs: the same records
# make the same bytes.
CANVASES = {"svg": FigureCanvasSVG, "png": FigureCanvasAgg, "pdf": FigureCanvasPdf}
PROPERTIES = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


class Chart(Figure):
    """A figure with a layout engine that draws each of its files once; without pyplot, which would keep it open.

    Attributes
    ----------
    footer : Text or None
        The line that says where the numbers come from: see `sign`.
    """

    footer: Text | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine = self.get_layout_engine()
        self._laid_out_for = ""
        self._files: dict[str, bytes] = {}

    def sign(self, text: str) -> None:
        """Write under the figure where its numbers come from."""
        text = "\n".join(textwrap.wrap(text, int(29 * self.get_figwidth())))
        self.footer = self.supxlabel(text, fontsize=4.5, color="0.45", x=0.01, ha="left")

    def file(self, kind: str) -> bytes:
        """Return the figure as the bytes of a file. Once this was called, the figure must not be changed.

        Parameters
        ----------
        kind : {"svg", "png", "pdf"}
            The .pdf is for a paper: its footer is in the file's properties ("Subject"), not on the page.
        """
        if kind not in self._files:
            with mpl.rc_context(STYLE):
                self._files[kind] = self._drawn(kind)
        return self._files[kind]

    def _repr_png_(self) -> bytes:
        return self.file("png")

    def _drawn(self, kind: str) -> bytes:
        file, properties = io.BytesIO(), PROPERTIES[kind]
        footer = self.footer.get_text() if self.footer else ""
        # The .svg is laid out as the .png. The .pdf measures letters in its own way and has no footer. Its layout comes
        # last: a layout begins where the one before it ended, and the bytes shall not depend on who asks first.
        if kind == "pdf":
            self.file("svg"), self.file("png")
            properties = properties | {"Subject": footer}
            if self.footer:
                self.footer.set_text("")
        self._lay_out("pdf" if kind == "pdf" else "png")
        canvas = CANVASES[kind](self)
        self.set_dpi(STYLE["savefig.dpi"])
        getattr(canvas, f"print_{kind}")(file, metadata=properties)
        if self.footer:
            self.footer.set_text(footer)
        return file.getvalue()

    def _lay_out(self, kind: str) -> None:
        """Place everything for one kind of file, unless that was done; Matplotlib would do it twice for each file."""
        if self._laid_out_for != kind:
            CANVASES[kind](self)  # becomes the figure's canvas, which measures letters
            self.set_dpi(STYLE["savefig.dpi"])
            self._engine.execute(self)
            self.set_layout_engine("none")
            self._laid_out_for = kind


def method_name(method: str, trials: pd.DataFrame | None = None) -> str:
    """Return the paper's name of a method, with the number of cores its trials really had."""
    workers = [] if trials is None else trials.loc[trials["method"] == method, "workers"]
    return METHODS.get(method, method).format(n=f"{max(workers):.0f}" if len(workers) else "N")
