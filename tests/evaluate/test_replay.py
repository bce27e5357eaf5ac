"""The loaded program classifies vectors and replayed captures as user space does, with features of its own."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from packet_tables import table_of

from ids_repro.data import extract
from ids_repro.data.features import FEATURES
from ids_repro.data.packet_table import PacketTable
from ids_repro.evaluate.replay import kernel_verdicts, load_program, replay
from ids_repro.evaluate.rows import KERNEL_PROGRAMS, classify_in_c
from ids_repro.native import library

pytestmark = [pytest.mark.root, pytest.mark.bpf]


def test_the_kernels_verdicts_are_those_of_c_on_the_wanted_packets(models, sample):
    few = replace(sample, rows=sample.rows[:300])
    wanted = np.arange(0, len(few.rows), 3)
    found = kernel_verdicts([models["multi"]], few, wanted)
    x, _ = library.extract(few.rows)
    for struct in KERNEL_PROGRAMS:
        _, classes = classify_in_c(models["multi"], struct, x[wanted])
        assert found["multi", 0][f"{struct}_kernel"].tolist() == classes.tolist()


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
