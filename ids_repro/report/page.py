"""One HTML file with everything the records say: claims, tables, figures, and where each came from."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

from .. import config, records
from ..evaluate import discrepancies, packet_by_packet
from ..published import published
from . import claims, classification, exhibit, style, sweep_figures, throughput

TEMPLATE = Path(__file__).with_name("page.html.j2")
GRADES = {claims.HOLDS: "good", claims.BETTER: "good", claims.DIFFERS: "bad"}
# What stands under each of `plots.figures`, and the records that make it.
CAPTIONS = {
    "fig4": (
        "Fig. 4. Receiving rate over sending rate: left in the paper's range, right in all of ours, of which the grey "
        "corner is the left panel. Medians over repeats, whiskers from least to most; markers say which generator "
        "sent, filled ones a new flow a packet, hollow ones one flow. The paper's layout and AF_XDP are ours to add.",
        "sweep",
    ),
    "fig5a": (
        "Fig. 5a. CPU utilisation of the server over sending rate, classifiers in the kernel: medians over repeats of "
        "the generator that sent the fastest; markers: the busy share in each generator's trials.",
        "sweep",
    ),
    "fig5b": ("Fig. 5b. The same, classifiers in user space.", "sweep"),
    "flow_churn": (
        "Cost of a packet over the size of the flow table: medians over rounds, whiskers at the quartiles.",
        "flow_churn",
    ),
}


def write_all(rows: Iterable[Mapping[str, Any]], folder: Path = config.FIGURES, **look: Any) -> dict[str, Any]:
    """Write every table, figure and the report from records alone, and return the frames and figures by their names.

    Parameters
    ----------
    rows : iterable of record
        Of any kind, of this machine or another.
    folder : Path
    **look
        width_in and methods of Figs. 4 and 5: see `plots.figures`.
    """
    rows = list(rows)
    made = sweep_figures.write(rows, folder, **look) | classification.write(rows, folder)
    made |= {"throughput": throughput.write(rows, folder), "claims": claims.write(rows, folder)}
    made |= {"per_packet": packet_by_packet.write(rows, folder), "discrepancies": discrepancies.write(rows, folder)}
    write(rows, folder)
    return made


def write(rows: Iterable[Mapping[str, Any]], folder: Path = config.FIGURES) -> Path:
    """Write report.html and return its path; the same records make the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(html(rows), encoding="utf-8")
    return path


def html(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the report as one HTML page that needs no other file.

    Parameters
    ----------
    rows : iterable of record
        Of all kinds, failed and bad ones included: they are counted. A section without records says which notebook
        makes them.
    """
    rows = list(rows)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        paper=published()["paper"],
        claims=_claims(rows),
        claim_notes=claims.NOTES,
        tables=[
            {"caption": classification.caption(task, rows), "blocks": exhibit.blocks(classification.table(task, rows))}
            for task in classification.NUMBERS
        ],
        notes=exhibit.NOTES,
        cost={
            "caption": classification.cost_caption(rows),
            "blocks": [("", exhibit.kernel_cost(classification.kernel_cost(rows)))],
            "notes": classification.COST_NOTES,
        },
        throughput={"caption": throughput.caption(rows), "blocks": throughput.blocks(rows), "notes": throughput.NOTES},
        figures=_figures(rows),
        per_packet=_inline(packet_by_packet.figure(rows), "per_packet") if records.current(rows, "per_packet") else "",
        released={
            "caption": discrepancies.caption(rows),
            "blocks": discrepancies.blocks(rows),
            "notes": discrepancies.NOTES,
        },
        trials=_trials(rows),
        failures=_failures(rows),
        origins=_origins(rows),
        parameters=_parameters(rows),
    )


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    text = exhibit.claims(claims.table(rows)).rename(columns=str.lower)
    return [line | {"grade": GRADES.get(line["verdict"], "none")} for line in text.to_dict("records")]


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    made = {}
    for name, figure in sweep_figures.figures(rows).items():
        caption, kind = CAPTIONS[name]
        n = len(records.current(rows, kind))
        source = f"Records: {kind}.jsonl, {n} trials." if n else sweep_figures.NO_RECORDS[kind]
        made[name] = {"caption": f"{caption} {source}", "svg": _inline(figure, name) if n else ""}
    return made


def _inline(figure: Figure, prefix: str) -> str:
    """Return a figure as an <svg> element whose ids, and what points to them, begin with a prefix of its own."""
    with mpl.rc_context(style.STYLE):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}-", svg[svg.index("<svg") :])


def _trials(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    counts = Counter((record["kind"], record["status"]) for record in rows)
    kinds = dict.fromkeys(record["kind"] for record in rows)
    return [
        {
            "kind": kind,
            **{status: counts[kind, status] for status in records.STATUSES},
            "used": len(records.current(rows, kind)),
        }
        for kind in kinds
    ]


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    why = Counter((record["kind"], record["status"], record["reason"]) for record in rows if record["status"] != "ok")
    return [(*what, count) for what, count in why.most_common(20)]


def _origins(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each kind what the records used in this report were made with and on, and when."""
    origins = []
    for kind in dict.fromkeys(record["kind"] for record in rows):
        used = records.current(rows, kind)
        if not used:
            continue
        made = [record["provenance"] for record in used]
        facts = classification.circumstances(used)
        origins.append({"kind": kind, "facts": facts | _versions(made) | _when(made)})
    return origins


def _versions(made: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    def values(text) -> str:
        return ", ".join(dict.fromkeys(text(one) for one in made))

    return {
        "memory": values(lambda one: f"{one.get('ram_bytes', 0) / 2**30:.1f} GiB"),
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
        "time in trials": f"{sum(one['duration_s'] for one in made):,.0f} s",
    }


def _parameters(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each kind every value that was asked for of each parameter, in the records used."""
    parameters = []
    for kind in dict.fromkeys(record["kind"] for record in rows):
        values: dict[str, dict[str, None]] = {}
        for record in records.current(rows, kind):
            for name, value in record["asked"].items():
                values.setdefault(name, {})[str(value)] = None
        if values:
            parameters.append({"kind": kind, "values": {name: ", ".join(seen) for name, seen in values.items()}})
    return parameters
