"""One HTML file with everything the records say: claims, tables, figures, and where each came from."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

from . import claims, config, layout, per_packet, plots, records, released, tables

TEMPLATE = Path(__file__).with_name("report.html.j2")
GRADES = {claims.HOLDS: "good", claims.DIRECTION: "fair", claims.WITHIN: "fair", claims.DIFFERS: "bad"}
FIGURES = {
    "Fig. 4": (
        "fig4",
        plots.fig4,
        "Receiving rate over sending rate: medians over repeats, whiskers from least to most.",
    ),
    "Fig. 5": ("fig5", plots.fig5, "CPU utilisation of the server over sending rate: medians over repeats."),
}


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
        paper=tables.published()["paper"],
        claims=_claims(rows),
        tables=[
            {"caption": tables.caption(task, rows), "blocks": layout.blocks(tables.table(task, rows))}
            for task in tables.NUMBERS
        ],
        notes=layout.NOTES,
        figures=_figures(rows),
        per_packet=_inline(per_packet.figure(rows), "per_packet") if records.current(rows, "per_packet") else "",
        released={"caption": released.caption(rows), "block": released.blocks(rows)[0][1], "notes": released.NOTES},
        trials=_trials(rows),
        failures=_failures(rows),
        origins=_origins(rows),
        parameters=_parameters(rows),
    )


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    def text(value: float, unit: str) -> str:
        if not math.isfinite(value):
            return ""
        return f"{value:,.0f} {unit}" if unit in ("pps", "flows") else f"{value:.1f} {unit}"

    lines = claims.table(rows).to_dict("records")
    for line in lines:
        line |= {"paper": text(line["paper"], line["unit"]), "ours": text(line["ours"], line["unit"])}
        line["grade"] = GRADES.get(line["verdict"], "none")
    return lines


def _figures(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    used = records.current(rows, "sweep")
    source = f"Records: sweep.jsonl, {len(used)} trials." if used else plots.NO_RECORDS
    return [
        {
            "name": name,
            "caption": f"{name}. {caption} {source}",
            "svg": _inline(draw(rows), prefix) if used else "",
        }
        for name, (prefix, draw, caption) in FIGURES.items()
    ]


def _inline(figure: Figure, prefix: str) -> str:
    """Return a figure as an <svg> element whose ids, and what points to them, begin with a prefix of its own."""
    with mpl.rc_context(plots.STYLE):
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
        facts = tables.circumstances(used)
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
