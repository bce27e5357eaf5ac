"""The loaded program classifies as user space does, with features of its own, and replays a data set's capture."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from packet_tables import table_of

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.data import dataset, extract, extract_many
from ids_repro.data.features import FEATURES
from ids_repro.data.labels.source import label_source
from ids_repro.data.packet_table import PacketTable
from ids_repro.evaluate.replay import kernel_verdicts, load_program, own_capture, replay
from ids_repro.evaluate.rows import KERNEL_PROGRAMS, classify_in_c
from ids_repro.native import library


def test_the_capture_is_that_of_the_data_set_wherever_it_is(tmp_path, sample):
    """Notebook 04 replays what notebook 01 was given, also if the file was moved and another took its place."""
    mine = shutil.copy(config.SAMPLE, tmp_path / "mine.pcap.gz")
    data = dataset.prepare(mine, config.SAMPLE_LABELS, tmp_path / "dataset.parquet")
    assert data.meta["name"] == "mine.pcap.gz"
    assert own_capture(data).rows.tobytes() == sample.rows.tobytes()
    moved = mine.rename(tmp_path / "moved.pcap.gz")
    assert own_capture(data, moved).path == moved
    with pytest.raises(UserError, match="mine.pcap.gz: the data set's capture is not there; set pcap to where it is"):
        own_capture(data)
    shutil.copy(config.SECOND_SAMPLE, mine)
    for given in (None, config.SECOND_SAMPLE):
        with pytest.raises(UserError, match="not the capture of the data set 'mine.pcap.gz', mine.pcap.gz, because"):
            own_capture(data, given)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"dedup_ms": 1}, "its packets were sorted, or copies were left out"),
        ({"reorder_ms": 1}, "its packets were sorted, or copies were left out"),
        ({"flow_rules": "go-flows"}, "it has the flow rules go-flows"),
    ],
)
def test_a_data_set_without_some_packets_of_its_capture_is_not_replayed(tmp_path, capsys, options, why):
    source = label_source(config.SAMPLE_LABELS)
    extract.run(config.SAMPLE, tmp_path / "x.parquet", source, **options)
    assert own_capture(dataset.load(tmp_path / "x.parquet"), config.SAMPLE) is None
    said = "the kernel's verdicts are left out: the data set cannot be replayed, because"
    assert capsys.readouterr().out == f"{said} {why}\n"


def test_neither_a_packet_table_nor_several_captures_are_one_capture_file(tmp_path, capsys):
    table, _ = table_of("sample", tmp_path)
    extract.run(table, tmp_path / "table.parquet", sampling="every")
    copy = shutil.copy(config.SAMPLE, tmp_path / "again.pcap.gz")
    extract_many.run([config.SAMPLE, copy], tmp_path / "two.parquet", str(config.SAMPLE_LABELS))
    for name in ("table", "two"):
        assert own_capture(dataset.load(tmp_path / f"{name}.parquet")) is None
        assert "because it is not of one capture file" in capsys.readouterr().out


@pytest.mark.root
@pytest.mark.bpf
def test_the_kernels_verdicts_are_those_of_c_on_the_wanted_packets(models, sample):
    few = replace(sample, rows=sample.rows[:300])
    wanted = np.arange(0, len(few.rows), 3)
    found = kernel_verdicts([models["multi"]], few, wanted)
    x, _ = library.extract(few.rows)
    for struct in KERNEL_PROGRAMS:
        _, classes = classify_in_c(models["multi"], struct, x[wanted])
        assert found["multi", 0][f"{struct}_kernel"].tolist() == classes.tolist()


@pytest.mark.root
@pytest.mark.bpf
def test_the_kernel_makes_a_packet_tables_features_from_its_packets_and_clock(tmp_path, models):
    """The table has concurrent flows of one 5-tuple, which would be one flow if the kernel saw their real addresses."""
    table, _ = table_of("sample", tmp_path)
    extract.run(table, tmp_path / "x.parquet", sampling="every")
    expected = pq.read_table(tmp_path / "x.parquet").sort_by("packet")
    trace = PacketTable(table).trace()
    clients = np.minimum(trace.rows["saddr"], trace.rows["daddr"])
    with load_program("dt", models["multi"]) as program:
        seen = replay(program, trace)
    assert not seen["reason"].any()
    np.testing.assert_array_equal(seen["x"], np.stack([expected[name] for name in FEATURES], axis=1))
    assert len(np.unique(clients)) == len(np.unique(expected["flow"])) == seen["first"].sum()
    np.testing.assert_array_equal(seen["verdict"], models["multi"].twins["dt"].predict(seen["x"]))
