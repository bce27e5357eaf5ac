"""A table or figure as one value: built once from records, written to files, shown on the page and in notebooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jinja2
import pandas as pd

from .. import config, machine_load, records
from ..files import replaced
from ..text import all_printable, printable
from . import shipped
from .chosen import Chosen, choose
from .style import Chart

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
NUMBER = re.compile(r"[-+−–≥≤≈< ]*\d|–$")  # how a cell that holds a number begins; a dash stands for none
# What LaTeX would take for a command, and letters that its usual fonts lack.
TEX = {letter: rf"\{letter}" for letter in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
TEX |= {
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "±": r"$\pm$",
}
TEX |= {"×": r"$\times$", "µ": r"\textmu{}", "<": r"\textless{}", ">": r"\textgreater{}", "…": r"\ldots{}"}
# What Markdown would take for a tag, a code span, a column or a link.
MARKDOWN = re.compile(r"[\\`<|]|\](?=\()")
# Notebooks; the records of other kinds are made by 04.
MADE_BY = {"flows": "02", "sweep": "05", "detector": "07", "end_to_end": "07"}
LONG = 40  # characters; a column with a longer text may wrap
# On what data, where and with what code, of `circumstances`.
PLACE = ("profile", "dataset", "labels", "machine", "kernel", "commit", "load")

Made = TypeVar("Made")
Rows = Iterable[Mapping[str, Any]]


class Results:
    """The records of a report, and what several exhibits need of them, each computed once.

    Their texts come without control characters: what is made of them is printed, drawn and read by other programs.

    Parameters
    ----------
    rows, others : iterable of record
        Of any kind, failed and bad ones included; and those of the project, for what these lack (`shipped.completed`).
    dataset : str, optional
        The name of the data set that the report is of; by default the one of the newest record.

    Attributes
    ----------
    rows, shipped : list of record
    chosen : Chosen
        The data set. Records of others are left out of every exhibit.

    Raises
    ------
    UserError
        If no record is of this data set.
    """

    def __init__(self, rows: Rows, dataset: str | None = None, others: Rows = ()) -> None:
        self.rows: list[dict] = [all_printable(row) for row in rows]
        self.shipped: list[dict] = [shipped.marked(all_printable(row)) for row in others]
        self.chosen: Chosen = choose(self.rows, dataset if dataset is None else printable(dataset))
        self._made: dict[tuple, Any] = {}

    def once(self, make: Callable[..., Made], *args: Any) -> Made:
        """Return ``make(self, *args)``, computed at the first call only; who gets it must not change it."""
        key = (make, *args)
        if key not in self._made:
            self._made[key] = make(self, *args)
        return self._made[key]

    def current(self, kind: str) -> list[dict]:
        """Return the records of one kind, of this data set, that may stand together: `records.current`."""
        return self.once(_current, kind)

    def missing(self, kind: str) -> str:
        """Return what stands in place of an exhibit without records of a kind: of what data, what to run, and how."""
        command = self.chosen.command(kind, made_by(kind))
        return no_records(kind, self.chosen) + f" ({command})" * bool(self.chosen.dataset)


def _current(results: Results, kind: str) -> list[dict]:
    rows, others = (list(filter(results.chosen.has, some)) for some in (results.rows, results.shipped))
    own = records.current(rows, kind)
    alike = [record for record in others if own and records.scope(record) == records.scope(own[-1])]
    return shipped.completed(own, records.current(alike or others, kind))


def made_by(kind: str) -> str:
    """Return the number of the notebook that makes the records of a kind."""
    return MADE_BY.get(kind, "04")


class Column(NamedTuple):
    """A column's heading and how it is set: "number" to the right, "word" and "text" to the left; "text" may wrap."""

    name: str
    kind: str


class Block(NamedTuple):
    """A titled part of a table, as a person reads it.

    Attributes
    ----------
    title : str
        Empty: the part has no title of its own.
    frame : DataFrame of str
        The first column names the line.
    """

    title: str
    frame: pd.DataFrame

    def columns(self) -> list[Column]:
        """Return the columns; those after the first hold numbers if every cell is a number or empty."""
        found = []
        for place, name in enumerate(self.frame.columns):
            cells = [str(cell) for cell in self.frame.iloc[:, place]]
            if place and all(not cell or NUMBER.match(cell) for cell in cells):
                found.append(Column(name, "number"))
            else:
                found.append(Column(name, "text" if max(map(len, cells), default=0) > LONG else "word"))
        return found

    def markdown(self) -> str:
        """Return the table as Markdown, without the title."""
        columns = self.columns()
        rule = ["---:" if column.kind == "number" else "---" for column in columns]
        head, *body = (
            [_md(cell) for cell in line] for line in ([column.name for column in columns], *self.frame.to_numpy())
        )
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))

    def latex(self) -> str:
        """Return the table as a LaTeX tabular, without the title."""
        columns = self.columns()
        kinds = "".join("r" if column.kind == "number" else "l" for column in columns)
        lines = [[column.name for column in columns], *self.frame.to_numpy()]
        head, *body = (" & ".join(_tex(str(cell)) for cell in line) + r" \\" for line in lines)
        rules = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
        return "\n".join([*rules, r"\end{tabular}"])


def _tex(text: str) -> str:
    """Return a cell's text as LaTeX, which would take one that begins with * or [ for an option of the line before."""
    return "{}" * text.startswith(("*", "[")) + "".join(TEX.get(letter, letter) for letter in text)


def _md(text: str) -> str:
    """Return a text as Markdown."""
    return MARKDOWN.sub(lambda found: "&lt;" if found[0] == "<" else rf"\{found[0]}", text)


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A table or a figure with what explains it.

    Parameters
    ----------
    name : str
        Of its files, without the suffix, and of its anchor on the page.
    caption : str
        What it shows, and from which records.
    frame : DataFrame, optional
        The numbers of a table: the .csv file.
    blocks : sequence of Block
        The table as a person reads it: the .md file, the page and notebooks.
    notes : str
        How to read the cells.
    chart : Chart, optional
        A figure: the .svg, .png and .pdf files.
    has_records : bool
        Whether there are records of what the chart shows. The page leaves an empty chart out.
    badges : mapping of str to str
        Texts of cells that the page sets off, and the class of each: "good", "bad" or "none".
    """

    name: str
    caption: str
    frame: pd.DataFrame | None = None
    blocks: Sequence[Block] = ()
    notes: str = ""
    chart: Chart | None = None
    has_records: bool = True
    badges: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_chart(cls, results: Results, kind: str, name: str, caption: str, chart: Chart) -> Exhibit:
        """Return a figure of the records of one kind; its caption and its footer say where the numbers come from."""
        used = results.current(kind)
        chart.sign(f"{kind}.jsonl: {origin(used)}" if used else no_records(kind, results.chosen))
        source = f"Records: {kind}.jsonl, {len(used)} trials." if used else results.missing(kind)
        data = origin(used, ("dataset", "labels"))
        source = f"{data[0].upper()}{data[1:]}. {source}" if data else source
        return cls(name, f"{caption} {source}", chart=chart, has_records=bool(used))

    def write(self, folder: Path = config.FIGURES) -> list[Path]:
        """Write the table as .csv, .md and .tex, the figure as .svg, .png and .pdf, and return the paths."""
        files: dict[str, bytes] = {}
        if self.frame is not None:
            files |= {"csv": self.frame.to_csv(index=False).encode(), "md": self.markdown().encode()}
            files |= {"tex": self.latex().encode()}
        if self.chart is not None:
            files |= {kind: self.chart.file(kind) for kind in ("svg", "png", "pdf")}
        paths = {folder / f"{self.name}.{kind}": content for kind, content in files.items()}
        for path, content in paths.items():
            with replaced(path) as file:
                file.write(content)
        return list(paths)

    def markdown(self) -> str:
        """Return the blocks between the caption and the notes; a block without lines is left out."""
        text = [_md(self.caption)]
        for block in self.blocks:
            if not block.frame.empty:
                text += [f"**{_md(block.title)}**"] * bool(block.title) + [block.markdown()]
        return "\n\n".join([*text, self.notes]) + "\n"

    def latex(self) -> str:
        """Return each block as a LaTeX tabular with the rules of booktabs, after the caption as comments."""
        parts = [f"% {line}" for line in self.caption.splitlines()]
        for block in self.blocks:
            if not block.frame.empty:
                parts += [f"% {block.title}"] * bool(block.title) + [block.latex()]
        return "\n".join(parts) + "\n"

    def svg(self) -> str:
        """Return the figure as an <svg> element; its ids begin with the exhibit's name, so the page has each once."""
        text = self.chart.file("svg").decode()
        return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{self.name}-", text[text.index("<svg") :])

    def __repr__(self) -> str:
        return self.markdown() if self.blocks else f"<Exhibit {self.name}: {self.caption}>"

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows of a table; None lets it take the PNG."""
        return TEMPLATES.get_template("exhibit.html.j2").render(exhibit=self, notes=self.notes) if self.blocks else None

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        """Return what a notebook shows of a figure, with its size."""
        return None if self.chart is None else self.chart._repr_png_()


def circumstances(used: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return profile, dataset, labels, seed, machine, kernel, commit of records, all values of each with commas.

    And "load": how busy others kept the machine, if that is known.
    """
    facts: dict[str, dict[str, None]] = {}
    for record in used:
        made, scope = record["provenance"], records.scope(record)
        commit = (made.get("commit") or "unknown")[:7] + " (with uncommitted changes)" * bool(made.get("dirty"))
        for name, value in {
            "profile": scope["profile"],
            "dataset": scope["dataset"],
            "labels": scope["labels"],
            "seed": record["asked"].get("seed"),
            "machine": f"{made.get('cpu')}, {made.get('cpus')} CPUs" + shipped.SAID * shipped.is_shipped(record),
            "kernel": made.get("kernel"),
            "commit": commit,
        }.items():
            if value is not None:
                facts.setdefault(name, {})[str(value)] = None
    found = {name: ", ".join(values) for name, values in facts.items()}
    return found | ({"load": load} if (load := machine_load.in_words(used)) else {})


def origin(used: Sequence[Mapping[str, Any]], names: Iterable[str] = PLACE) -> str:
    """Return some of the `circumstances` of records as one phrase: "profile smoke; machine ..."."""
    facts = circumstances(used)
    return "; ".join(f"{name} {facts[name]}" for name in names if name in facts)


def no_records(kind: str, chosen: Chosen | None = None) -> str:
    """Return in a few words what stands in place of records of a kind; see `Results.missing`."""
    of = f" of {chosen}" if chosen and chosen.dataset else ""
    return f"no records{of} yet: run notebook {made_by(kind)}"
