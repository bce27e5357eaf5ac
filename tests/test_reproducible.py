"""The same commit, data and seed give the same bytes: dataset, models with their thresholds, tables and figures.

Everything is made twice, by processes that differ in what must not matter: the order of sets, threads, time and folder.
"""

import os
import subprocess
import sys
from pathlib import Path

from ids_repro import config

CHAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from ids_repro import config
from ids_repro.data import dataset
from ids_repro.models import detector, pipeline
from ids_repro.models.model_file import save_model
from ids_repro.models.scorers import Settings
from ids_repro.models.shape import Shape

out = Path(sys.argv[1])
every = dataset.prepare(config.SAMPLE, config.SAMPLE_LABELS, out / "lab.parquet")
short = replace(config.PROFILES["smoke"], epochs=1, min_steps=300)
for task in config.TASKS:
    model = pipeline.train_model(every.sample(), task, 3, short)
    save_model(model, out / "float")
    save_model(pipeline.quantize_model(model, every.sample()), out)
save_model(detector.train(every, settings=Settings(Shape(tree_depth=8), epochs=1)), out)
"""


def made_twice(tmp_path: Path, *command: str) -> list[dict[str, bytes]]:
    """Run a command in two processes, whose last argument is a folder, and return the files that each wrote into it."""
    outs = {number: tmp_path / ("a" * 40 * int(number)) for number in ("1", "2")}
    running = []
    for number, out in outs.items():
        out.mkdir()
        varied = {"PYTHONHASHSEED": number, "OMP_NUM_THREADS": number, "TZ": f"UTC-{number}", "PYTHONPATH": config.ROOT}
        argv = [sys.executable, *command, out]
        running.append(subprocess.Popen(argv, env=os.environ | varied, cwd=tmp_path, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    return [
        {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in outs.values()
    ]


def test_dataset_and_models(tmp_path):
    one, other = made_twice(tmp_path, "-c", CHAIN)
    models = {f"{folder}{kind}-3.npz" for folder in ("", "float/") for kind in config.TASKS}
    assert set(one) == {"lab.parquet", "detector-0.npz", *models}
    assert {name for name in one if one[name] != other[name]} == set()


def test_tables_figures_and_report(tmp_path):
    results = config.DATA / "example"
    one, other = made_twice(tmp_path, "-m", "ids_repro", "figures", "--results", str(results), "--figures")
    assert {"table2.csv", "table3.md", "fig4.svg", "fig4.pdf", "report.html"} <= set(one)
    assert {name for name in {*one, *other} if one.get(name) != other.get(name)} == set()
