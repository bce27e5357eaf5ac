"""Whatever a record from elsewhere says, `figures` ends with figures or with a sentence, and never with a traceback.

Hypothesis changes fields of the shipped records, by default for some 15 s: IDS_ANYTHING_S=600 makes it ten minutes.
"""

import contextlib
import itertools
import json
import os
import time
import warnings
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ids_repro import config, records
from ids_repro.record_schema import KINDS
from ids_repro.report import claims, page
from ids_repro.report.exhibit import Results

SECONDS = float(os.environ.get("IDS_ANYTHING_S", 15))
HOSTILE = "$x_$ |`a`|\n<script>alert(1)</script> \x1b[31m\x00\u202e\\ [a](javascript:b) & % {} --> \ud800 \u65e5"
DELETED = object()
# What a field becomes. NaN and infinity are no JSON, but Python writes them and reads them.
CHANGES = [
    DELETED,
    None,
    "x",
    "",
    -1,
    0,
    1,
    3,
    0.5,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    {"": {}},
]
CHANGES += [1e308, -1e308, 1e-308, 2**63, 10**4000, True, HOSTILE, "a" * 5_000, "a " * 200_000, [0] * 100, [0.5] * 41]
CHANGES += [
    "Normal",
    "one",
    "hping3",
    "no_filter",
    "nn_q16_c",
    "boosted",
    "all",
    "multi",
    "lru",
    "CIC-IDS2017",
    "ok",
    "bad",
]


def some() -> list[dict]:
    """Return a few of the shipped records of each kind and a made one of the only kind that is not among them."""
    found = records.read(config.DATA / "example")
    kept = [one for kind in KINDS for one in [r for r in found if r["kind"] == kind][:: 90 if kind == "sweep" else 9]]
    asked = {"dataset": "CIC-IDS2017", "labels": "published", "flow_rules": "go-flows"}
    raw = {"flows_by_class": dict.fromkeys(config.CLASSES, 1000), "unit": "flows"}
    return [*kept, kept[0] | {"kind": "flows", "asked": asked, "raw": raw}]


RECORDS = some()


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Return the path of every field of a record, but of lists only the first and the last items."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, dict) or key in (0, len(value) - 1):
            found += places(item, (*path, key))
    return found


def changed(value: object, path: tuple, change: object) -> object:
    """Return a record in which one field is another value, or is not there."""
    if not path:
        return {} if change is DELETED else change
    key, *rest = path
    if isinstance(value, list):
        return [
            *value[:key],
            *([] if not rest and change is DELETED else [changed(value[key], rest, change)]),
            *value[key + 1 :],
        ]
    if not rest and change is DELETED:
        return {name: item for name, item in value.items() if name != key}
    return value | {key: changed(value[key], tuple(rest), change)}


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, list[tuple[int, tuple, object]]]:
    """Draw a kind and a dozen changes: the number of a record, a field of it, and what that becomes."""
    kind = draw(st.sampled_from([*KINDS]))
    chosen = st.sampled_from([n for n, one in enumerate(RECORDS) if one["kind"] == kind])
    numbers = draw(st.lists(chosen, min_size=12, max_size=12))
    return kind, [(n, draw(st.sampled_from(places(RECORDS[n]))), draw(st.sampled_from(CHANGES))) for n in numbers]


def write(folder: Path, rows: list) -> Path:
    """Write records as somebody else's program would, which checks nothing."""
    folder.mkdir(exist_ok=True)
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def draw_all(folder: Path, rows: list) -> str:
    """Do what the command does, but draw each figure once; return its sentence, or nothing if there are figures."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name may have letters that the font lacks
            results = Results(records.read_some(write(folder, rows)))
            shown = page.sections(results)
            page.html(results, shown).encode()
            for exhibit in [one for part in shown.values() for one in part if one.frame is not None]:
                (exhibit.markdown() + exhibit.latex() + exhibit.frame.to_csv()).encode()
    except config.UserError as error:
        return str(error)
    return ""


def test_whatever_a_record_says(tmp_path):
    ends: Counter = Counter()

    @settings(
        max_examples=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(changes())
    def check(drawn: tuple[str, list[tuple[int, tuple, object]]]) -> None:
        """Refuse the changed records one by one; draw figures of those that are not refused."""
        if time.monotonic() > end:
            return
        kind, some = drawn
        rows, taken = list(RECORDS), []
        for n, path, change in some:
            new = changed(rows[n], path, change) if path in places(rows[n]) else rows[n]
            try:
                records.read(write(tmp_path, [new]))
            except config.UserError as error:
                assert len(str(error)) < 500 and "line 1: " in str(error), str(error)
                ends["refused"] += 1
                continue
            rows[n] = new
            taken.append((path, repr(change)[:40]))
        rows = [row for row, was in zip(rows, RECORDS, strict=True) if was["kind"] in (kind, "accuracy")]
        try:
            ends["sentence" if draw_all(tmp_path, rows) else "figures"] += 1
        except Exception as error:
            raise AssertionError(kind, taken) from error

    end = time.monotonic() + SECONDS
    for number in itertools.count():  # the same examples in every run, in the same order
        if time.monotonic() > end:
            break
        seed(number)(check)()
    print(dict(ends))
    assert min(ends["refused"], ends["figures"]) > 0


def test_tables_need_only_what_the_schema_checks(tmp_path):
    def tables(rows: list[dict]) -> list[str]:
        results = Results(records.read_some(write(tmp_path, rows)))
        shown = [one for part in page.sections(results).values() for one in part if one.frame is not None]
        return [one.name + one.frame.to_csv() + one.markdown() for one in shown]

    fields = {kind: raw.keys() | raw_more.keys() for kind, (_, _, raw, raw_more) in KINDS.items()}
    bare = [
        row | {"raw": {name: value for name, value in row["raw"].items() if name in fields[row["kind"]]}}
        for row in RECORDS
    ]
    assert bare != RECORDS
    assert tables(bare) == tables(RECORDS)


def all_zero(value: object) -> object:
    """Return a value in which each number is 0."""
    if isinstance(value, dict):
        return {name: all_zero(item) for name, item in value.items()}
    if isinstance(value, list):
        return [all_zero(item) for item in value]
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value


def test_measurements_that_are_all_zero_end_with_figures_or_a_sentence(tmp_path):
    """Quotients of two records are in some tables, and changes of single records seldom meet both."""
    zeros = [one | {"raw": all_zero(one["raw"])} for one in records.read(config.DATA / "example")]
    draw_all(tmp_path, zeros)
    for kind in KINDS:
        others = [one for one in RECORDS if one["kind"] != kind]
        rows = write(tmp_path, [*others, *(one for one in zeros if one["kind"] == kind)])
        with contextlib.suppress(config.UserError):
            claims.table(Results(records.read(rows)))
