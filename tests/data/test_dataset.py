"""From a capture to three parts: no packet is lost, no part knows another, and the bytes are always the same."""

import json
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ids_repro import config
from ids_repro.data import dataset
from ids_repro.data.dataset import Dataset
from ids_repro.data.feature_file import COLUMNS
from ids_repro.native import library
from ids_repro.native.layouts import FIRST_PACKETS

SCHEDULE = config.SAMPLE_LABELS


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("interim") / "lab.parquet"


@pytest.fixture(scope="module")
def data(path):
    return dataset.prepare(config.SAMPLE, SCHEDULE, path)


@pytest.fixture(scope="module")
def rows(sample):
    return sample.rows


def labelled(labels):
    """Make flows of one packet with these labels."""
    n = np.arange(len(labels))
    return Dataset(np.zeros((len(n), 12), np.int64), n, 0 * n, n, n, np.array(labels, np.int8), {})


def test_a_dataset_reads_back_as_it_was_made(data, path):
    loaded = dataset.load(path)
    assert loaded.meta == data.meta
    for name in ("x", *COLUMNS):
        left, right = getattr(loaded, name), getattr(data, name)
        np.testing.assert_array_equal(left, right, err_msg=name)
        assert left.dtype == right.dtype


def test_the_same_input_makes_the_same_bytes(data, path, tmp_path):
    dataset.prepare(config.SAMPLE, SCHEDULE, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_each_vector_is_that_of_its_packet(data, rows):
    x, flow = library.extract(rows)
    np.testing.assert_array_equal(data.x, x[data.packet])
    np.testing.assert_array_equal(data.flow, flow[data.packet])
    np.testing.assert_array_equal(data.time_us, rows["ts_ns"][data.packet] // 1000)
    for number in np.unique(data.flow)[::97]:
        assert data.index[data.flow == number].tolist() == list(range(np.sum(flow == number)))


def test_last_is_the_last_of_the_first_100_packets_and_every_is_all_of_them(data):
    flows, n_packets = np.unique(data.flow, return_counts=True)
    assert n_packets.max() > FIRST_PACKETS
    last, every = data.sample("last"), data.sample("every")
    np.testing.assert_array_equal(last.flow, flows)
    np.testing.assert_array_equal(last.index, np.minimum(n_packets, 100) - 1)
    np.testing.assert_array_equal(np.unique(every.flow, return_counts=True)[1], np.minimum(n_packets, 100))
    assert (np.diff(every.packet) > 0).all()
    with pytest.raises(config.UserError, match="use 'last' or 'every'"):
        data.sample("first")


@pytest.mark.parametrize("sampling", ["last", "every"])
def test_parts_hold_whole_flows_of_every_class_in_the_papers_shares(data, sampling):
    sampled = data.sample(sampling)
    parts = dataset.split(sampled, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(sampled.x)))
    flows = [set(sampled.flow[part]) for part in parts]
    assert not flows[0] & flows[1] and not flows[0] & flows[2] and not flows[1] & flows[2]
    total = sum(map(len, flows))
    assert [len(part) / total for part in flows] == pytest.approx([0.67 * 0.8, 0.67 * 0.2, 0.33], abs=1e-3)
    label = dict(zip(sampled.flow.tolist(), sampled.label.tolist(), strict=True))
    for one in set(label.values()):
        of_class = [sum(label[flow] == one for flow in part) for part in flows]
        assert np.abs(np.array(of_class) - np.array([0.536, 0.134, 0.33]) * sum(of_class)).max() < 2


def test_a_split_is_made_by_its_seed(data):
    sampled = data.sample()
    again, other = dataset.split(sampled, 0), dataset.split(sampled, 1)
    assert all(np.array_equal(*pair) for pair in zip(dataset.split(sampled, 0), again, strict=True))
    assert not np.array_equal(again[2], other[2])


def test_a_class_too_small_to_split_is_refused():
    with pytest.raises(config.UserError, match="fewer than 5 flows, too few to split: {'Botnet': 4, 'DoS': 50}"):
        dataset.split(labelled([0] * 4 + [2] * 50), 0)
    assert all(
        set(np.array([0] * 5 + [2] * 50)[part]) == {0, 2} for part in dataset.split(labelled([0] * 5 + [2] * 50), 0)
    )


def test_many_small_classes_are_refused_or_split():
    try:
        parts = dataset.split(labelled(sorted(list(range(7)) * 5)), 0)
    except config.UserError:
        return
    assert all(len(part) for part in parts)


def test_targets_of_both_tasks(data):
    normal = data.label == config.CLASSES.index("Normal")
    np.testing.assert_array_equal(data.target("binary"), ~normal)
    np.testing.assert_array_equal(data.target("multi"), data.label)
    assert sum(data.counts().values()) == len(data.x)
    assert data.counts()["Normal"] == normal.sum()


def test_flows_that_no_row_names_are_counted_and_left_out(data, rows, tmp_path):
    opener = rows[0]["saddr"], rows[0]["daddr"]
    src, dst = (".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0)) for address in map(int, opener))
    schedule = tmp_path / "one.csv"
    schedule.write_text(f"label,activity,start_us,end_us,src,dst,dport,proto\nDoS,,0,{2**62},{src},{dst},,\n")
    made = dataset.prepare(config.SAMPLE, schedule, tmp_path / "one.parquet")
    x, flow = library.extract(rows)
    first = np.unique(flow, return_index=True)[1]
    ours = (rows["saddr"][first] == opener[0]) & (rows["daddr"][first] == opener[1])
    assert made.meta["flows"] == len(first)
    assert 0 < made.meta["flows_without_label"] == np.sum(~ours)
    assert set(made.flow) == set(np.flatnonzero(ours))
    assert made.counts() == {"DoS": np.isin(flow, np.flatnonzero(ours)).sum()}


def test_a_full_disk_leaves_the_old_file_or_none(path, data, tmp_path):
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    old.write_bytes(path.read_bytes())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for out in (old, new):
            with pytest.raises(config.UserError, match="cannot be written"):
                dataset.prepare(config.SAMPLE, SCHEDULE, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert old.read_bytes() == path.read_bytes()
    assert not new.exists()


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(config.UserError, match="run notebook 01"):
        dataset.load(tmp_path / "nowhere.parquet")


def test_a_file_that_is_not_parquet_is_an_error_for_the_user(tmp_path):
    (tmp_path / "text.parquet").write_text("not Parquet, though its name says so")
    with pytest.raises(config.UserError, match="not a dataset"):
        dataset.load(tmp_path / "text.parquet")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "len",
            lambda x: np.where(np.arange(len(x)) == 7, np.nan, x),
            "the column 'len' is missing or not all integers",
        ),
        ("len", lambda x: pa.array(x, mask=np.arange(len(x)) == 7), "the column 'len' is missing or not all integers"),
        ("len", None, "the column 'len' is missing or not all integers"),
        ("label", lambda x: np.where(np.arange(len(x)) == 7, 9, x), "label 9 is no class, 0 to 6"),
    ],
    ids=["nan", "empty", "no column", "label"],
)
def test_a_dataset_that_lacks_a_value_is_refused(data, path, tmp_path, name, change, words):
    assert len(dataset.load(path).x) == len(data.x)
    table = pq.read_table(path)
    at = table.column_names.index(name)
    column = table[name].to_numpy()
    table = table.set_column(at, name, [change(column)]) if change else table.remove_column(at)
    table = table.replace_schema_metadata({"ids_repro": json.dumps(data.meta)})
    pq.write_table(table, tmp_path / "changed.parquet")
    with pytest.raises(config.UserError, match=f"changed.parquet: {words}"):
        dataset.load(tmp_path / "changed.parquet")


def test_the_records_of_a_capture_that_is_cut_off_say_so(tmp_path):
    (tmp_path / "cut.pcap.gz").write_bytes(config.SAMPLE.read_bytes()[:500_000])
    with pytest.warns(config.DamagedWarning, match="cut.pcap.gz: the file is cut off in the record at byte "):
        made = dataset.prepare(tmp_path / "cut.pcap.gz", SCHEDULE, tmp_path / "cut.parquet")
    assert "the file is cut off in the record at byte " in made.named()["damage"]
