"""What a record of each kind must hold. Whoever writes a record, and whoever reads one, asks `fault`.

Tables and figures count on nothing else, so a field that they need stands here. A record may hold more than that.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import fastjsonschema

from . import config

STATUSES = ("ok", "failed", "bad")
PACKETS = 100  # how many packets of a flow, from the first one on, records of kind "per_packet" count
CURVE_POINTS = 41  # of the curve in records of kind "detector"
SHA256 = 64  # hexadecimal digits

# How busy others kept the machine before a trial and in it: see `machine_load`.
LOAD = ("load", "others_before_percent", "steal_before_percent", "others_percent", "steal_percent")

TYPES = {"string": "a text", "number": "a number", "integer": "a whole number", "boolean": "true or false"}
TYPES |= {"object": "an object", "array": "a list", "null": "null"}

Schema = dict[str, Any]


def _number(least: float, most: float, kind: str = "number") -> Schema:
    return {"type": kind, "minimum": least, "maximum": most}


def _list(items: Schema, least: int = 1, most: int = 1_000_000) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _fields(needed: Schema, others: Schema | None = None) -> Schema:
    return {"type": "object", "required": sorted(needed), "properties": needed | (others or {})}


def _each(values: Schema, names: Schema | None = None) -> Schema:
    """Return the schema of an object whose names are not fixed."""
    return {"type": "object", "propertyNames": names or TEXT, "additionalProperties": values}


def _one_of(*words: str) -> Schema:
    return {"enum": list(words)}


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


TEXT = {"type": "string", "maxLength": 10_000}
WORD = {"type": "string", "pattern": r"^[A-Za-z0-9_.+-]{1,64}\Z"}  # a name in a table of the code
COUNT = _number(0, 2**63, "integer")
SHARE = _number(0, 1)
SECONDS = _number(0, 1e9)
NS = _number(-1e15, 1e15)  # a time less what a call takes may be negative
CLASS = _one_of(*config.CLASSES)
PLAIN = {"type": ["string", "number", "boolean", "null"]}
VALUE = {"anyOf": [PLAIN, {"type": "array", "items": PLAIN}, {"type": "object", "additionalProperties": PLAIN}]}

# What `asked` and `identity` may say in records of every kind. The scope and the case of a record are read from both.
NAMES = {
    "task": _one_of(*config.TASKS),
    "seed": COUNT,
    "row": WORD,
    "method": WORD,
    "profile": TEXT,
    "dataset": _or_null(TEXT),
    "labels": _or_null(TEXT),
    "data_hash": _or_null(TEXT),
    "mode": TEXT,
    "budgets": _list(SHARE),
    "flood_s": SECONDS,
}
FLOOD = {"table": _one_of("shared", "lru"), "flows": _number(1, 2**32, "integer"), "rate_pps": COUNT}
FLOOD |= {"packets": _number(1, 1e6, "integer"), "answered": {"type": "boolean"}, "flood_s": SECONDS}
SIZES = ("verified_insns", "xlated_bytes", "jited_bytes", "stack_bytes")  # of a loaded program
DAY = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
PROVENANCE = _fields(
    {
        "commit": _or_null(TEXT),
        "kernel": TEXT,
        "cpu": TEXT,
        "cpus": _or_null(COUNT),
        "started_utc": TEXT | {"pattern": DAY},
        "duration_s": SECONDS,
        "identity": {"type": "object", "properties": NAMES, "additionalProperties": VALUE},
    },
    {
        "load": _each(_number(0, 1e6), _one_of(*LOAD)),
        "dirty": {"type": ["boolean", "null"]},
        "version": _or_null(TEXT),
        "compiler": _or_null(TEXT),
        "ram_bytes": COUNT,
        "python": TEXT,
        "packages": _each(_or_null(TEXT)),
        "mode": TEXT,
    },
)
OUTCOME = _fields(
    {"budget": SHARE, "found": SHARE, "false_alarms": SHARE, "by_class": _each(SHARE, CLASS)}
    | {"incidents": _or_null(SHARE), "packets_to_alarm": _or_null(COUNT | {"type": "number"})}
    | dict.fromkeys(("ms_to_alarm", "false_alarms_per_hour"), _or_null(_number(0, 1e15)))
    | dict.fromkeys(("by_packet", "by_ms"), _each(SHARE, {"pattern": r"^\d{1,9}(\.\d{1,9})?\Z"}))
)
TRIED = _fields(
    {"refused_by": _one_of("", "compiler", "verifier"), "message": TEXT, "tail_calls": _or_null(COUNT)},
)
BY_PACKET = _list(COUNT, PACKETS, PACKETS)
BOTH = _fields({"attack": _or_null(SHARE), "normal": _or_null(SHARE)})
CPU = _each(_number(0, 101), _one_of("usr", "sys", "soft", "idle", "steal"))
CURVE = _list(SHARE, CURVE_POINTS, CURVE_POINTS)

# By kind: fields of `asked` that must be there, others that may be, the same of `raw`. Nothing is asked of the `raw` of
# a trial that did not end ok.
KINDS: dict[str, tuple[Schema, Schema, Schema, Schema]] = {
    "flows": (
        {"dataset": TEXT, "labels": TEXT, "flow_rules": TEXT},
        {},
        {"flows_by_class": _each(COUNT, CLASS)},
        {},
    ),
    "accuracy": (
        {"task": NAMES["task"], "row": WORD, "seed": COUNT},
        {},
        {"confusion": _list(_list(COUNT))},
        {"agreement_with_float": _or_null(SHARE), "model_bytes": COUNT},
    ),
    "inference": ({"task": NAMES["task"], "row": WORD, "how": WORD}, {}, {"ns_per_inference": _list(NS)}, {}),
    "calibration": (
        {"task": NAMES["task"], "seed": COUNT, "method": WORD, "input": WORD},
        {},
        {"accuracy": _each(_or_null(SHARE))},
        {},
    ),
    "kernel_cost": (
        {"variant": WORD, "traffic": _one_of("one_flow", "new_flows")},
        {},
        {"ns_per_packet": _list(NS)},
        dict.fromkeys(SIZES, COUNT),
    ),
    "flow_churn": (
        {"classifier": WORD, "flows_entries": FLOOD["flows"], "traffic": _one_of("one_flow", "new_ports", "new_flows")},
        {},
        {"ns_per_packet": _list(NS)},
        {},
    ),
    "blinding": (FLOOD, {}, {"share_found": SHARE, "found_packets": _each(COUNT, WORD)}, {}),
    "blinded_verdicts": (FLOOD, {}, dict.fromkeys(("packets", "flagged"), _each(COUNT, CLASS)), {}),
    "fault": (
        {"fault": WORD, "command": WORD} | dict.fromkeys(("seed", "first", "tries"), COUNT),
        {},
        {"moments_s": _list(SECONDS)} | dict.fromkeys(("lost", "left", "wrong"), _list(TEXT, 0)),
        {},
    ),
    "kernel": (
        {"kernel": WORD, "variant": WORD, "hook": _one_of("xdp", "tc"), "classes": COUNT},
        {},
        {"refused": TEXT, "not_compared": TEXT, "vectors": COUNT, "packets": COUNT, "differ": _or_null(COUNT)},
        dict.fromkeys(SIZES, COUNT),
    ),
    "constraint": ({"constraint": WORD}, {}, {"broken": TRIED, "alternative": _or_null(TRIED)}, {}),
    "per_packet": (
        {"task": NAMES["task"], "row": WORD, "seed": COUNT},
        {},
        dict.fromkeys(("packets", "right", "attack_first_alarm", "normal_first_alarm"), BY_PACKET)
        | {"attack_flows": COUNT, "normal_flows": COUNT},
        {},
    ),
    "discrepancy": (
        {"task": NAMES["task"], "seed": COUNT, "switch": WORD},
        {},
        dict.fromkeys(("accuracy", "accuracy_float", "agreement_with_float"), SHARE),
        {},
    ),
    "detector": (
        {"row": WORD, "test": _one_of("by_flow", "by_time", "other_recording")},
        {"other": TEXT},
        {"outcomes": _list(OUTCOME), "curve": _fields({"flagged": CURVE, "found": CURVE})},
        {},
    ),
    "end_to_end": (
        {"action": _one_of("count", "filter"), "seconds": SECONDS},
        {},
        {"flows": _fields({"attack": COUNT, "normal": COUNT}), "live": BOTH, "offline": BOTH}
        | {"runs": _each(COUNT), "failed": _each(COUNT)},
        {"apart_ms": _or_null(_list(_number(0, 1e9), 2, 2))},
    ),
    "sweep": (
        {"method": WORD, "generator": _one_of("hping3", "live_frames"), "repeat": COUNT},
        {"flows": _one_of("new", "one", "replay"), "trial_s": _number(0.001, 1e6), "chosen": {"type": "boolean"}}
        | {"interval_us": _or_null(COUNT), "rate_pps": _or_null(COUNT)},
        {"duration_s": _number(0.001, 1e6), "sent_packets": COUNT, "received_packets": COUNT, "cpu_percent": CPU},
        {"workers": _number(1, 1e6, "integer"), "held": TEXT, "differences": _or_null(COUNT)}
        | {"dropped_packets": _each(COUNT, WORD)},
    ),
}


def fault(record: Any) -> str | None:
    """Say what is wrong with a record.

    Parameters
    ----------
    record : dict
        As JSON gives it. Of a kind that is not in KINDS, only what all kinds have in common is checked.

    Returns
    -------
    str or None
        The field and what it must be, in words; None if nothing is wrong.
    """
    kind, ok = (record.get("kind"), record.get("status") == "ok") if isinstance(record, Mapping) else (None, False)
    try:
        _validator(kind if isinstance(kind, str) and kind in KINDS else "", ok)(record)
    except fastjsonschema.JsonSchemaValueException as error:
        return _words(error)
    return None


@cache
def _validator(kind: str, ok: bool) -> Callable[[Any], Any]:
    """Compile the schema of one kind of record ("" is any other), with `raw` or without."""
    asked, asked_more, raw, raw_more = KINDS.get(kind, ({}, {}, {}, {}))
    whole = {
        "kind": {"type": "string", "maxLength": 64},
        "asked": _fields(asked, NAMES | asked_more) | {"additionalProperties": VALUE},
        "raw": _fields(raw, raw_more) if ok else {"type": "object"},
        "status": _one_of(*STATUSES),
        "provenance": PROVENANCE,
    }
    schema = _fields(whole, {"reason": TEXT})
    if kind == "accuracy" and ok:
        schema["allOf"] = [_square(task, len(classes)) for task, classes in config.TASKS.items()]
    return fastjsonschema.compile(schema)


def _square(task: str, n: int) -> Schema:
    """Return the schema of records of one task: a line and a column for each of its n classes."""
    of_task = _fields({"asked": _fields({"task": {"const": task}})})
    matrix = _list(_list(COUNT, n, n), n, n)
    return {"if": of_task, "then": {"properties": {"raw": {"properties": {"confusion": matrix}}}}}


def _stranger(names: Mapping[str, Any], wanted: Schema) -> str:
    """Return the first name that is not one of those wanted, or the last one, if these are not listed."""
    return next((name for name in names if name not in wanted.get("enum", names)), [*names][-1])


def _words(error: fastjsonschema.JsonSchemaValueException) -> str:
    """Return an error of the library in words: the field, what it must be and what it is."""
    field = ".".join(error.path[1:]) or "the line"
    value, wanted = error.value, error.rule_definition
    if error.rule == "required":
        missing = next(name for name in wanted if name not in value)
        return f"{field}.{missing} is missing".removeprefix("the line.")
    must = {
        "type": lambda: (
            f"must be {' or '.join(TYPES[one] for one in ([wanted] if isinstance(wanted, str) else wanted))}"
        ),
        "enum": lambda: f"must be one of {', '.join(wanted)}",
        "const": lambda: f"must be {wanted}",
        "minimum": lambda: f"must be at least {wanted:,}",
        "maximum": lambda: f"must be at most {wanted:,}",
        "minItems": lambda: f"must have at least {wanted:,} items",
        "maxItems": lambda: f"must have at most {wanted:,} items",
        "maxLength": lambda: f"must have at most {wanted:,} characters",
        "pattern": lambda: f"must match {wanted}",
        "propertyNames": lambda: f"has {_stranger(value, wanted)!r:.80}, which does not belong there",
        "anyOf": lambda: "must be a text, a number, true, false, null, or one list or object of these",
    }
    said = must.get(error.rule, lambda: error.message)()
    return f"{field} {said}; it is {'null' if value is None else reprlib.repr(value)}"
