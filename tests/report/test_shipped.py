"""Records that come with the project stand in for what was not measured, marked, and for nothing else."""

import re

from ids_repro import config, records
from ids_repro.report import classification, page, throughput
from ids_repro.report.exhibit import Results, circumstances
from ids_repro.report.shipped import SAID, is_shipped

EXAMPLE = records.read(config.DATA / "example")
OWN = [r for r in EXAMPLE if r["kind"] in ("accuracy", "inference") and not r["asked"]["row"].endswith("_kernel")]


def test_rows_of_the_kernel_stand_in_beside_rows_of_this_machine_and_are_marked():
    frame = classification.table(Results(OWN, None, EXAMPLE), "binary")
    names = dict(zip(frame["row"], frame["name"], strict=True))
    assert {row for row, name in names.items() if name.endswith("‡")} == {r for r in names if r.endswith("_kernel")}
    assert frame[frame["row"] == "nn_q16_kernel"]["ours"].notna().any()
    alone = classification.table(Results(OWN), "binary")
    assert not any(row.endswith("_kernel") for row in alone["row"])


def test_a_kind_without_a_record_is_shipped_and_one_with_records_is_not():
    results = Results(OWN, None, EXAMPLE)
    assert all(map(is_shipped, results.current("sweep"))) and results.current("sweep")
    assert not any(is_shipped(record) for record in results.current("accuracy") if record["asked"]["row"] == "dt_c")
    assert SAID in circumstances(results.current("sweep"))["machine"]
    assert SAID.strip() in throughput.exhibit(results).caption
    sweep = [record for record in EXAMPLE if record["kind"] == "sweep"]
    assert not any(map(is_shipped, Results([*OWN, *sweep[:30]], None, EXAMPLE).current("sweep")))


def test_rows_of_another_profile_or_of_other_data_do_not_stand_beside_ours():
    other = [record | {"asked": record["asked"] | {"profile": "paper"}} for record in OWN]
    assert not any(map(is_shipped, Results(other, None, EXAMPLE).current("accuracy")))
    identity = {"identity": {"data_hash": "0" * 64, "model_sha256": "1"}}
    other = [record | {"provenance": record["provenance"] | identity} for record in OWN]
    results = Results(other, None, EXAMPLE)
    assert not any(map(is_shipped, results.current("accuracy")))
    assert results.current("sweep") == []


def test_the_report_says_which_kinds_are_shipped_and_one_of_own_records_says_nothing():
    text = page.html(Results(OWN, None, EXAMPLE), {})
    said = re.search("Not all of this was measured here.</strong>([^<]*)", text)[1]
    assert {"sweep", "kernel_cost", "accuracy"} <= set(re.findall(r"\w+", said)) and "‡ marks their rows" in said
    assert "Not all of this was measured here." not in page.html(Results(EXAMPLE), {})
