"""Every table and figure, written to files and put on one HTML page together with where each number came from."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import config, records
from ..files import replaced
from ..published import published
from ..record_schema import STATUSES
from ..text import rounded
from . import (
    blinding,
    claims,
    classification,
    constraints,
    detector,
    discrepancies,
    kernel_cost,
    kernels,
    losses,
    packet_by_packet,
    robustness,
    sweep_figures,
    throughput,
)
from .chosen import names
from .exhibit import TEMPLATES, Exhibit, Results, circumstances
from .shipped import is_shipped
from .style import COLUMN_IN
from .summary import summary


def sections(results: Results, width_in: float = COLUMN_IN, methods: str = "all") -> dict[str, list[Exhibit]]:
    """Return every table and figure, by the title of the page's section in which it stands.

    A new table or figure is a module of this room and a line here.

    Parameters
    ----------
    results : Results
    width_in : float
        Of Figs. 4 and 5 and of the figure of the flow table, in inches.
    methods : str
        In Figs. 4 and 5: names with commas between them, or "all".

    Raises
    ------
    UserError
        If there is no such method.
    """
    return {
        "Figs. 4 and 5": [
            throughput.exhibit(results),
            *sweep_figures.exhibits(results, width_in, methods),
            losses.exhibit(results, width_in),
        ],
        "Claims": [claims.exhibit(results)],
        "Tables II and III": [classification.exhibit(results, task) for task in config.TASKS],
        "Table I": [constraints.exhibit(results)],
        "Cost in the kernel": [
            kernel_cost.exhibit(results),
            kernel_cost.flow_churn(results, width_in),
            blinding.exhibit(results, width_in),
            *([kernels.exhibit(results)] if results.current("kernel") else []),  # no notebook makes these records
        ],
        "Packet by packet": [packet_by_packet.exhibit(results)],
        "A detector": [detector.exhibit(results)],
        "As released": [discrepancies.exhibit(results)],
        "Faults": [robustness.exhibit(results)],
    }


def write_all(
    rows: Iterable[Mapping[str, Any]],
    folder: Path = config.FIGURES,
    width_in: float = COLUMN_IN,
    methods: str = "all",
    dataset: str | None = None,
    shipped: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Exhibit]:
    """Write every table, every figure and report.html from records alone; the same records make the same bytes.

    Parameters
    ----------
    rows : iterable of record
        Of any kind, of this machine or another.
    folder : Path
    width_in, methods
        See `sections`.
    dataset, shipped
        See `Results`.

    Returns
    -------
    dict of str to Exhibit
        The tables and figures by their names.

    Raises
    ------
    UserError
        If no trial has ended well: an empty report would take the place of a good one. Nothing is written then. Also
        as `sections` and `Results` do.
    """
    config.number("width_in", width_in)
    rows = records.require_finished(rows)
    with _without_garbage_collection():
        results = Results(rows, dataset, shipped)
        shown = sections(results, width_in, methods)
        made = write([exhibit for part in shown.values() for exhibit in part], folder)
        with replaced(folder / "report.html") as file:
            file.write(html(results, shown).encode())
    return made


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collect no garbage while figures are drawn: they are many small objects, all of which live on."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def write(exhibits: Sequence[Exhibit], folder: Path = config.FIGURES) -> dict[str, Exhibit]:
    """Write some tables and figures, and return them by their names."""
    for exhibit in exhibits:
        exhibit.write(folder)
    return {exhibit.name: exhibit for exhibit in exhibits}


def html(results: Results, shown: Mapping[str, Sequence[Exhibit]]) -> str:
    """Return the report as one HTML page that needs no other file.

    Parameters
    ----------
    results : Results
        Records of all kinds, failed and bad ones included: they are counted.
    shown : mapping of str to sequence of Exhibit
        As `sections` returns them. An exhibit without records says which notebook makes them.
    """
    return TEMPLATES.get_template("page.html.j2").render(
        paper=published()["paper"],
        data=str(results.chosen) if results.chosen.dataset else "",
        shipped=[kind for kind in _kinds(results) if any(map(is_shipped, results.current(kind)))],
        others=[name for name in names(results.rows) if name != results.chosen.dataset],
        summary=summary(results.once(claims.table)),
        sections=shown,
        trials=_trials(results),
        failures=_failures(results.rows),
        origins=_origins(results),
        parameters=_parameters(results),
    )


def _kinds(results: Results) -> list[str]:
    return list(dict.fromkeys(record["kind"] for record in (*results.rows, *results.shipped)))


def _trials(results: Results) -> list[dict[str, Any]]:
    """Return for each kind how many trials ended how, and how many this report uses."""
    counts = Counter((record["kind"], record["status"]) for record in results.rows)
    return [
        {"kind": kind, "used": len(results.current(kind))} | {status: counts[kind, status] for status in STATUSES}
        for kind in _kinds(results)
    ]


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    """Return kind, status, reason and number of the trials that are not ok, the most frequent first."""
    why = Counter((record["kind"], record["status"], record["reason"]) for record in rows if record["status"] != "ok")
    return [(*what, count) for what, count in why.most_common(20)]


def _origins(results: Results) -> list[dict[str, Any]]:
    """Return for each kind with what, on what and when the records that this report uses were made."""
    origins = []
    for kind in _kinds(results):
        used = results.current(kind)
        if not used:
            continue
        made = [record["provenance"] for record in used]
        facts = circumstances(used)
        origins.append({"kind": kind, "facts": facts | _versions(made) | _when(made)})
    return origins


def _versions(made: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    def values(text) -> str:
        return ", ".join(dict.fromkeys(text(one) for one in made))

    return {
        "memory": values(lambda one: f"{rounded(one.get('ram_bytes', 0) / 2**30, '.1f')} GiB"),
        "compiler": values(lambda one: str(one.get("compiler"))),
        "software": values(
            lambda one: ", ".join(
                f"{name} {version}"
                for name, version in {
                    "ids_repro": one.get("version"),
                    "Python": one.get("python"),
                    **one.get("packages", {}),
                }.items()
            )
        ),
        "mode": values(lambda one: str(one.get("mode"))),
    }


def _when(made: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    starts = sorted(one["started_utc"][:19] for one in made)
    return {
        "started (UTC)": " to ".join(dict.fromkeys((starts[0], starts[-1]))),
        "time in trials": f"{rounded(sum(one['duration_s'] for one in made), ',.0f')} s",
    }


def _parameters(results: Results) -> list[dict[str, Any]]:
    """Return for each kind the parameters of its trials, and every value of each in the records used."""
    parameters = []
    for kind in _kinds(results):
        values: dict[str, dict[str, None]] = {}
        for record in results.current(kind):
            for name, value in record["asked"].items():
                values.setdefault(name, {})[str(value)] = None
        if values:
            parameters.append({"kind": kind, "values": {name: ", ".join(seen) for name, seen in values.items()}})
    return parameters
