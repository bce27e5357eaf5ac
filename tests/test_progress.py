"""Progress bars, in real kernels: who sees which kind."""

import os
import subprocess
import sys

from jupyter_client.manager import start_new_kernel

from ids_repro.config import ROOT

WIDGET = "application/vnd.jupyter.widget-view+json"
CODE = """
from ids_repro.progress import show_progress
with show_progress(total=3, desc="outer", unit="step") as bar:
    for _ in show_progress(range(2), desc="inner", leave=False):
        bar.set_postfix(at=1)
        bar.update()
    bar.total = bar.n
"""


def outputs(code: str, person: bool, **environment: str) -> list[dict]:
    """Run code in a kernel of its own, as a front end does or as papermill does; return the messages of its output."""
    found = []
    manager, client = start_new_kernel(env=os.environ | {"PYTHONPATH": str(ROOT)} | environment)
    try:
        client.execute_interactive(code, allow_stdin=person, timeout=60, output_hook=found.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return [one for one in found if one["msg_type"] in ("stream", "display_data", "execute_result", "error")]


def test_in_jupyterlab_each_bar_is_a_widget():
    found = outputs(CODE, person=True, JPY_SESSION_NAME="notebooks/01_dataset.ipynb")
    assert [WIDGET in one["content"].get("data", {}) for one in found] == [True, True]


def test_a_notebook_that_nobody_looks_at_has_no_bar():
    assert outputs(CODE, person=False) == []
    assert outputs(CODE, person=False, JPY_SESSION_NAME="started by a notebook of JupyterLab") == []


def test_another_front_end_gets_lines_of_text_that_are_no_error():
    found = outputs(CODE, person=True)
    assert {one["content"].get("name") for one in found} == {"stdout"}
    assert "outer" in "".join(one["content"]["text"] for one in found)


def test_in_a_terminal_bars_are_lines_on_standard_error_and_nothing_of_jupyter_is_loaded():
    code = CODE + "import sys; print({'IPython', 'ipywidgets', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "set()\n" and "outer: 100%" in done.stderr


def test_in_a_notebook_a_mistake_of_the_user_is_one_sentence():
    code = "from ids_repro import config\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    config.profile('huge')"
    (error,) = outputs(code, person=True)
    said = "there is no profile 'huge': use one of smoke, evening, paper"
    assert error["content"]["traceback"] == [said] == [error["content"]["evalue"]]
