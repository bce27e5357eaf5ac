"""The command that shows what is in a model's file: models show."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..text import printable, rounded, say
from .add import Add

MODEL_HELP = "a model's file, such as data/models/binary-0.npz"


def _show_model(args: argparse.Namespace) -> int:
    """Print what is in a model's file; nothing in it is run."""
    from ..models.model_file import describe

    found = describe(args.file)
    say(json.dumps(found) if args.json else _lines_of(found))
    return 0


def _lines_of(found: dict[str, Any]) -> str:
    """Return what `model_file.describe` returned as lines for a terminal."""

    def numbers(values: list[float]) -> str:
        return ", ".join(rounded(value, ".4g") for value in values)

    tree = f"depth {found['tree']['depth']}, {found['tree']['leaves']} leaves"
    lines = {"task": found["task"], "classes": ", ".join(found["classes"]), "seed": found["seed"]}
    lines |= {"data SHA-256": found["data_sha256"], "net": "-".join(map(str, found["layers"])), "tree": tree}
    part = "training" if found["detector"] else "validation"
    lines |= {"training": f"{found['epochs']} epochs, best {part} accuracy {rounded(found['accuracy'], '.4f')}"}
    if found["sha256"] is None:
        lines |= {"integer models": "none yet: run notebook 03"}
    if found["thresholds"] is not None:
        lines |= {"thresholds": f"inputs {numbers(found['thresholds']['inputs'])}; used {numbers(found['alpha'])}"}
        for layer, columns in enumerate(found["thresholds"]["columns"], start=1):
            lines |= {f"  columns {layer}": f"{rounded(min(columns), '.4g')} to {rounded(max(columns), '.4g')}"}
    if found["sha256"] is not None:
        sizes = ", ".join(f"{name} {size:,} bytes" for name, size in found["structs"].items())
        lines |= {"integer models": sizes, "SHA-256": found["sha256"]}
    for name, one in (found["detector"] or {}).items():
        flags = (
            f"{rounded(one['false_alarms'], '.3%')} of normal flows and {rounded(one['found'], '.1%')} of attack flows"
        )
        lines |= {
            f"detector {name}": f"score {one['flag_at']} flags a flow: {flags}; budget {rounded(one['budget'], '.3%')}"
        }
    lines |= {f"  {name}": value for name, value in found["about"].items()}
    head = f"{printable(str(found['file']))}: a model of format {found['format']}, {found['bytes']:,} bytes"
    return "\n".join([head, *(f"  {printable(name):18}{printable(str(value))}" for name, value in lines.items())])


def add_models(add: Add) -> None:
    """Add the command models."""
    command = add("models", _show_model, "what is in a model's file; it is read as data, and nothing in it is run")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print it", description="Print what is in a model's file.")
    show.add_argument("file", type=Path, metavar="FILE", help=MODEL_HELP)
    show.add_argument("--json", action="store_true", help="one JSON object, with every threshold")
