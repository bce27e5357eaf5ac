"""Records that come with the project stand in for what was not measured, marked, and for nothing else."""

import re

from ids_repro.implementations import rows_in
from ids_repro.report import claims, classification, page, throughput
from ids_repro.report.exhibit import Results, circumstances
from ids_repro.report.shipped import SAID, is_shipped, read_shipped

EXAMPLE = read_shipped()
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


def test_of_shipped_records_with_several_profiles_those_of_our_profile_stand_beside_ours():
    profile = OWN[-1]["asked"]["profile"]
    mine = [record for record in EXAMPLE if record["kind"] == "accuracy" and record["asked"]["profile"] == profile]
    newer = [record | {"asked": record["asked"] | {"profile": "newer"}} for record in mine]
    beside = Results([record for record in mine if record in OWN], None, [*mine, *newer]).current("accuracy")
    assert any(map(is_shipped, beside)) and {record["asked"]["profile"] for record in beside} == {profile}
    alone = Results([record for record in OWN if record["kind"] == "inference"], None, [*mine, *newer])
    assert {record["asked"]["profile"] for record in alone.current("accuracy")} == {"newer"}


def test_who_has_no_root_finds_the_kernels_rows_of_the_first_run():
    found = [record for record in read_shipped() if record["asked"].get("profile") == "smoke"]
    rows = {(record["kind"], record["asked"]["row"]) for record in found if "row" in record["asked"]}
    assert {(kind, row) for kind in ("accuracy", "inference") for row in rows_in("kernel")} <= rows


def test_a_claim_that_is_judged_by_a_shipped_record_says_so():
    def said(results):
        return {row.record: row.reason.startswith(SAID.strip(" ()")) for row in claims.table(results).itertuples()}

    found = said(Results(OWN, None, EXAMPLE))
    assert any(found.values()) and not all(found.values())
    assert all(marked for record, marked in found.items() if record.startswith("sweep.jsonl"))
    assert not any(said(Results(EXAMPLE)).values())


def test_the_report_says_which_kinds_are_shipped_and_one_of_own_records_says_nothing():
    text = page.html(Results(OWN, None, EXAMPLE), {})
    said = re.search("Not all of this was measured here.</strong>([^<]*)", text)[1]
    assert {"sweep", "kernel_cost", "accuracy"} <= set(re.findall(r"\w+", said)) and "‡ marks their rows" in said
    assert "Not all of this was measured here." not in page.html(Results(EXAMPLE), {})
