"""The table of kernels and variants, from records: of made ones, and again from the shipped ones."""

import pytest

from ids_repro import config, records
from ids_repro.report import kernels
from ids_repro.report.exhibit import Results

SHIPPED = config.DATA / "example"
SIZES = {"verified_insns": 24000, "xlated_bytes": 1, "jited_bytes": 1, "stack_bytes": 0}
COMPARED = {"refused": "", "not_compared": "", "vectors": 1000, "packets": 2000, "differ": 0}
REFUSED = {"refused": "BCC could not build or load it", "not_compared": "", "vectors": 0, "packets": 0, "differ": None}


def made(folder, kernel, variant, raw):
    asked = {"kernel": kernel, "variant": variant, "hook": "xdp", "classes": 2}
    return records.append(folder / "kernels.jsonl", "kernel", asked, raw)


def test_a_kernel_is_a_column_and_a_variant_a_line(tmp_path):
    rows = [
        made(tmp_path, "6.12.117+deb13-cloud-amd64", "flow", COMPARED | SIZES),
        made(tmp_path, "6.12.117+deb13-cloud-amd64", "dt", COMPARED | SIZES | {"differ": 7}),
        made(
            tmp_path, "6.12.117+deb13-cloud-amd64", "nn_q16", REFUSED | SIZES | {"refused": "", "not_compared": "why"}
        ),
        made(tmp_path, "6.1.0-50-cloud-amd64", "flow", REFUSED),
        made(tmp_path, "6.1.0-50-cloud-amd64", "empty", COMPARED | SIZES | {"verified_insns": 0}),
    ]
    shown = kernels.exhibit(Results(rows)).blocks[0].frame
    assert list(shown) == ["Variant", "hook", "classes", "6.1.0-50-cloud-amd64", "6.12.117+deb13-cloud-amd64"]
    lines = shown.set_index("Variant")
    assert lines.loc["flow"].tolist()[2:] == ["refused", "24,000"]
    assert lines.loc["empty"].tolist()[2:] == ["loaded", ""]
    assert lines.loc["nn_q16"].tolist()[2:] == ["", "24,000 (not compared)"]
    assert lines.loc["dt"].tolist()[2:] == ["", "24,000 (7 differ)"]
    assert "7 vectors and packets differ" in kernels.exhibit(Results(rows)).caption


def test_a_record_of_a_later_run_takes_the_place_of_an_earlier_one(tmp_path):
    rows = [made(tmp_path, "6.1.0", "flow", raw) for raw in (REFUSED, COMPARED | SIZES)]
    assert kernels.table(Results(rows))["refused"].tolist() == [""]


def test_without_records_the_exhibit_says_what_to_run():
    exhibit = kernels.exhibit(Results([]))
    assert exhibit.frame.empty and "make test-kernels" in exhibit.caption


@pytest.mark.parametrize("suffix", ["csv", "md", "tex"])
def test_the_shipped_table_is_made_from_the_shipped_records(tmp_path, suffix):
    kernels.exhibit(Results(records.read(SHIPPED))).write(tmp_path)
    assert (tmp_path / f"kernels.{suffix}").read_bytes() == (config.FIGURES / f"example/kernels.{suffix}").read_bytes()


def test_where_a_shipped_kernel_loaded_a_variant_no_bit_differs_from_user_space():
    table = kernels.table(Results(records.read(SHIPPED)))
    loaded = table[(table["refused"] == "") & (table["variant"] != "empty")]
    assert len(loaded) and loaded["differ"].eq(0).all() and loaded["verified_insns"].gt(1000).all()
