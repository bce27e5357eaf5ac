"""Packet tables: features and times, files that are refused, pieces, and the same features as the captures have.

Covers also: ids_repro.data.packet_columns.
"""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from packet_tables import CAPTURES, SHARED, table_of, write_table

from ids_repro.__main__ import main
from ids_repro.config import UserError
from ids_repro.data import dataset, extract, packet_table
from ids_repro.data.features import FEATURES
from ids_repro.data.labels.source import label_source


def test_packet_table_by_hand(tmp_path, capsys):
    out = tmp_path / "x.parquet"
    arguments = ["extract", write_table(tmp_path) / "packets.parquet", "--sampling", "every", "--out", out, "--json"]
    code = main([str(argument) for argument in arguments])
    found = json.loads(capsys.readouterr().out)
    table = pq.read_table(out)
    column = {name: table[name].to_numpy() for name in table.column_names}
    assert code == 0 and (found["packets"], found["flows"], found["flows_without_label"]) == (6, 3, 1)
    assert column["flow"].tolist() == [3, 3, 3, 7, 9, 9] and column["label"].tolist() == [2, 2, 2, 4, -1, -1]
    assert (column["sport"] >> 16).tolist() == [1000, 80, 1000, 1001, 0, 0]
    assert (column["dir"] >> 16).tolist() == [1, 0, 1, 1, 1, 0]
    assert (column["iat"] >> 16).tolist() == [0, 500, 2000, 0, 0, 7_200_000_000]  # two hours do not end a given flow
    assert (column["len_mean"] / 65536).tolist()[1] == 770
    start = 15 * 10**14
    assert column["time_us"].tolist() == [start, start + 500, start + 2500, 0, start + 250_000, start + 7_200_250_000]


@pytest.mark.parametrize(
    ("flows", "rows", "words"),
    [
        ({"sport": ...}, {}, "'sport' is missing"),
        ({}, {"iat_ms": ...}, "'iat_ms' is missing"),
        ({"flow_id": [3, 7, 7]}, {}, "one row"),
        ({"flow_id": [3, 7, 8]}, {}, "flow_id 9"),
        ({"src_ip": ["10.0.0.1", "::1", "10.0.0.1"]}, {}, "IPv4"),
        ({"sport": [70_000, 1, 1]}, {}, "sport"),
        ({"proto": [6, None, 6]}, {}, "'proto' has empty"),
        ({"src_ip": ["10.0.0.1", None, "10.0.0.1"]}, {}, "'src_ip' has empty"),
        ({"sport": ["80", "80", "80"]}, {}, "'sport' has no numbers"),
        ({"dst_ip": [1, 2, 3]}, {}, "'dst_ip' has no texts"),
        ({"class7": [["DoS"], [], None]}, {}, "'class7' has no texts"),
        ({"start_epoch_s": [1e300, None, 0.0]}, {}, "'start_epoch_s' is no number from 0 to"),
        ({"dport": [80.5, 1.0, 1.0]}, {}, "'dport' is no whole number"),
        ({}, {"dir_fwd": [2, 0, 1, 1, 1, 0]}, "'dir_fwd' is no whole number from 0 to 1"),
        ({}, {"iat_ms": [0.0, 1e300, 2.0, 0.0, 0.0, 0.0]}, "'iat_ms' is no number from"),
        ({"class7": ["DoS", "Odd", None]}, {}, "'Odd' is no class"),
        ({}, {"idx": [0, 2, 1, 0, 0, 1]}, "row 1 is out of order"),
        ({}, {"flow_id": [9, 3, 3, 7, 9, 9]}, "out of order"),
        ({}, {"ip_len": [40, 70_000, 40, 60, 84, 84]}, "ip_len"),
        ({}, {"iat_ms": [0.0, float("nan"), 2.0, 0.0, 0.0, 0.0]}, "'iat_ms' has empty"),
    ],
)
def test_packet_tables_that_are_refused(tmp_path, flows, rows, words):
    with pytest.raises(UserError, match=words):
        extract.run(write_table(tmp_path, flows, rows), tmp_path / "x.parquet")
    assert not list(tmp_path.glob("x.parquet*"))


def test_packet_table_pieces_and_options(tmp_path):
    """Times and features do not depend on where a piece of the table ends."""
    rng = np.random.default_rng(0)
    length = rng.integers(1, 150, 60)
    flow, idx = np.repeat(np.arange(60), length), np.concatenate([np.arange(n) for n in length])
    columns = {"flow_id": flow, "idx": idx, "ip_len": rng.integers(20, 1500, len(idx))}
    columns |= {"iat_ms": np.where(idx == 0, 0, rng.exponential(50, len(idx))), "dir_fwd": rng.integers(0, 2, len(idx))}
    flows = {name: np.arange(60) for name in ("flow_id", "start_epoch_s", "sport", "dport")}
    flows |= {"src_ip": ["1.1.1.1"] * 60, "dst_ip": ["1.1.1.2"] * 60, "proto": [6] * 60, "class7": ["DoS"] * 60}
    folder, found = write_table(tmp_path, flows, columns), []
    for piece in (1 << 16, 97, 1):
        for sampling in extract.SAMPLINGS:
            extract.write(packet_table.PacketTable(folder, piece), tmp_path / "x.parquet", None, sampling, "made up")
            found.append((tmp_path / "x.parquet").read_bytes())
    assert found[:2] == found[2:4] == found[4:]
    with pytest.raises(UserError, match="packet table"):
        extract.run(folder, tmp_path / "x.parquet", dedup_ms=10)
    with pytest.raises(UserError, match="labels of its own"):
        extract.run(folder, tmp_path / "x.parquet", label_source("published"))


@pytest.mark.parametrize("name", CAPTURES)
def test_packet_table_has_the_features_of_its_captures(name, tmp_path):
    """The same flows, found in a capture and given in a table, have the same features bit for bit."""
    (path, dedup_ms), (table, numbers) = CAPTURES[name], table_of(name, tmp_path)
    vectors = []
    for source, options in ((path, {"dedup_ms": dedup_ms, "reorder_ms": 10 * (dedup_ms > 0)}), (table, {})):
        extract.run(source, tmp_path / "x.parquet", **options)
        found = pq.read_table(tmp_path / "x.parquet")
        vectors.append(np.stack([found[c].to_numpy() for c in (*FEATURES, "time_us", "flow")], axis=1))
    mine = vectors[1][np.isin(vectors[1][:, -1], numbers)]
    assert len(mine) == len(numbers)
    assert sorted(map(tuple, vectors[0][:, :-1])) == sorted(map(tuple, mine[:, :-1]))


PUBLISHED = {"DoS": 13_485, "Normal": 17_842, "Portscan": 755, "Web attack": 671}


def test_packet_table_keeps_its_flows_and_labels(tmp_path):
    """The published subset has 32,753 flows in four classes; without it, a table made from the sample is read."""
    is_there = (SHARED / packet_table.PACKETS).is_file()
    folder, numbers = (SHARED, range(32_753)) if is_there else table_of("sample", tmp_path)
    found = extract.run(folder, tmp_path / "x.parquet")
    assert (found["flows"], found["vectors"], found["flows_without_label"]) == (len(numbers), len(numbers), 0)
    counts = dataset.load(tmp_path / "x.parquet").counts()
    assert counts == (PUBLISHED if is_there else {"Normal": len(numbers)})
