"""How every figure looks and becomes files: names and looks of the methods, size, fonts, the footer."""

from __future__ import annotations

import io
import textwrap
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..text import printable, rounded


class Look(NamedTuple):
    """How a method is shown.

    Attributes
    ----------
    label : str
        Its name. {n}: the workers of its trials.
    colour : str
    dashes : str or tuple
        Matplotlib's line style.
    panels : str
        The parts of Figs. 4 and 5 that show it, of "4a", "4b", "5a" and "5b".
    """

    label: str
    colour: str
    dashes: str | tuple
    panels: str


# The paper's names (Sec. V-B1) with the net's arithmetic, in the order of Fig. 5; its N is 24. The paper has one net in
# XDP_DRV, and none of AF_XDP, DPDK, detectors and the LRU map, which is only in the table of throughput. Colours of
# Okabe and Ito and of Tol, and two more: those of one panel differ for readers of any colour vision, as
# tests/report/test_style.py checks. Line styles are for those who print in grey.
METHODS = {
    "no_filter": Look("No Filter", "#000000", "-", "4a 4b 5a"),
    "xdp_drv_flow": Look("XDP_DRV (Flow Extraction)", "#009e73", (0, (5, 1.2)), "4a 5a"),
    "xdp_drv_nn_fused": Look("XDP_DRV (NN fused)", "#0072b2", "-", "4a 4b 5a"),
    "xdp_drv_dt": Look("XDP_DRV (DT)", "#e69f00", (0, (4, 1, 1, 1)), "4a 5a"),
    "xdp_skb_nn_fused": Look("XDP_SKB (NN fused)", "#d55e00", (0, (4, 1, 1, 1)), "4b 5a"),
    "tc_nn_fused": Look("TC (NN fused)", "#56b4e9", (0, (5, 1.2)), "4b 5a"),
    "rawsock1_nn_fused": Look("1-core Rawsocket (NN fused)", "#cc79a7", (0, (1, 1)), "4b 5b"),
    "rawsockN_nn_fused": Look("{n}-core Rawsocket (NN fused)", "#882255", (0, (2.5, 1)), "4b 5b"),
    "xdp_drv_nn_q16_paper": Look("XDP_DRV (NN q16)", "#a05a2c", (0, (1, 1)), "4a 5a"),
    "afxdp_nn_fused": Look("AF_XDP (NN fused)", "#332288", (0, (3, 1, 1, 1, 1, 1)), "4b 5b"),
    "afxdp_busy_nn_fused": Look("AF_XDP, busy poll (NN fused)", "#ddcc77", (0, (5, 1.2)), "4b 5b"),
    "dpdk_nn_fused": Look("DPDK (NN fused)", "#661100", (0, (4, 1, 1, 1)), "4b 5b"),
    "xdp_drv_nn_fused_lru": Look("XDP_DRV (NN fused, LRU map)", "#0072b2", (0, (1, 1)), ""),
    "xdp_drv_dt_deep": Look("XDP_DRV (Detector, tree)", "#3300ff", (0, (1, 1)), "4a 5a"),
    "xdp_drv_nn_log2": Look("XDP_DRV (Detector, NN)", "#ff33ff", (0, (3, 1, 1, 1, 1, 1)), "4a 5a"),
}
NETS = (
    "The paper measured one net in XDP_DRV; its values stand beside both of ours. NN fused is our arithmetic. NN q16 "
    "is the paper's, in the layout of its released code: a map element for each parameter and a program for each layer."
)


def marker(generator: str, flows: str, colour: str) -> dict[str, str]:
    """Return how Matplotlib marks a trial of a generator that sent such flows."""
    shape = "^" if flows == "replay" else GENERATORS[generator][0]
    return {"marker": shape, "markerfacecolor": "white" if flows == "one" else colour}


def place(method: str) -> int:
    """Return where a method stands in tables; what is no method of ours comes last."""
    return [*METHODS, method].index(method)


def as_drawn(text: str) -> str:
    """Return a text from elsewhere as a figure has it, which also says ``parse_math=False``: $ begins no formula."""
    return textwrap.shorten(printable(text), LONGEST)


def methods_of(panel: str) -> tuple[str, ...]:
    """Return the methods that one part of Figs. 4 and 5 shows, such as "4a"."""
    return tuple(method for method, look in METHODS.items() if panel in look.panels.split())


# A marker's shape says what sent, its filling whether each packet started a new flow; a replay has a shape of its own.
GENERATORS = {"live_frames": ("o", "live frames"), "hping3": ("s", "hping3")}
FLOWS = {"new": "a new flow per packet", "one": "one flow", "replay": "a capture replayed"}
REPLAY = (
    "A capture replayed: its packets over and over, at another rate than its own. So the program takes the time of "
    "each from its frame, not from the kernel's clock, and its flow table has room for all flows. "
)
LONGEST = 600  # characters of a text in a figure: a long name must not push the figure off the page
COLUMN_IN = 3.5  # the width of one column of a paper set in two
# How large a notebook shows a figure: beside JupyterLab's side bar and below its tool bars on a screen of 1366 x 768.
SCREEN_PX, SCREEN_PX_PER_IN = (900, 540), 150
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

# The canvas and the metadata of each kind of file. Dates and names of programs are left out, so that the same records
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
        text = "\n".join(textwrap.wrap(as_drawn(text), int(29 * self.get_figwidth())))
        self.footer = self.supxlabel(text, fontsize=4.5, color="0.45", x=0.01, ha="left", parse_math=False)

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

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return what a notebook shows: the figure, and a size [px] at which a laptop's screen shows all of it."""
        width, height = self.get_size_inches()
        scale = min(SCREEN_PX[0] / width, SCREEN_PX[1] / height, SCREEN_PX_PER_IN)
        return self.file("png"), {"width": round(scale * width), "height": round(scale * height)}

    def _drawn(self, kind: str) -> bytes:
        file, properties = io.BytesIO(), PROPERTIES[kind]
        footer = self.footer.get_text() if self.footer else ""
        # The .svg is laid out as the .png. The .pdf measures letters in its own way and has no footer. It is laid out
        # last, because a layout starts from the one before. So the bytes are the same, whichever file is first.
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


def kpps(rate_pps: float) -> str:
    """Return a rate in 1,000 packets/s: a whole number, and below 10 three digits."""
    return rounded(rate_pps / 1e3, ",.0f" if rate_pps >= 10_000 else ".3g")


def method_name(method: str, trials: pd.DataFrame | None = None) -> str:
    """Return the paper's name of a method, with the number of cores its trials really had."""
    workers = [] if trials is None else trials.loc[trials["method"] == method, "workers"]
    return (METHODS[method].label if method in METHODS else method).format(
        n=rounded(max(workers), ".0f") if len(workers) else "N"
    )
