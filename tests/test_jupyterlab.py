"""The notebooks in JupyterLab in a real browser: every cell runs, no warning, real bars, all fits a laptop."""

import os
import re
import subprocess
import sys

import pytest
from machine_state import heed_signals

NOTEBOOKS = ("01_dataset", "02_training", "03_quantization", "06_report")  # 04, 05 and 07 need root and minutes
TOKEN = "for-this-test"  # noqa: S105
FOLDERS = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
SERVER = (sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser")
OPTIONS = ("--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}", "--ServerApp.root_dir=notebooks")
# The bars are gone at the end, so that they are noted when they come.
WATCH = """() => {
    window.bars = 0;
    new MutationObserver(changes => {
        for (const change of changes) for (const node of change.addedNodes)
            if (node.querySelector) bars += node.matches('.widget-hprogress, .jupyter-widget-hprogress')
                + node.querySelectorAll('.widget-hprogress, .jupyter-widget-hprogress').length;
    }).observe(document.body, {childList: true, subtree: true});
}"""
OPENED = "window.jupyterapp?.shell.currentWidget?.context?.path === '{}'"
RUN = """async () => {
    const shown = jupyterapp.shell.currentWidget;
    await shown.context.ready;
    await shown.sessionContext.ready;
    await jupyterapp.commands.execute('notebook:run-all-cells');
    return shown.content.model.toJSON().cells;
}"""
# Pictures and tables of the open notebook that end to the right of its cells, where nothing around them scrolls.
CUT = """() => {
    const book = jupyterapp.shell.currentWidget.node, edge = book.getBoundingClientRect().right;
    const shown = [...book.querySelectorAll('.jp-RenderedImage img, .jp-RenderedHTML table')];
    return shown.filter(e => e.getBoundingClientRect().right > edge && !e.closest('.scroll'))
        .map(e => e.outerHTML.slice(0, 80));
}"""


@pytest.fixture(scope="module")
def address(project, tmp_path_factory):
    """Start JupyterLab in a copy of the project, with settings of its own; yield its address."""
    project.add_profile("smoke", trial_s=0.3)
    own = tmp_path_factory.mktemp("jupyter")
    environment = os.environ | {"PYTHONPATH": str(project.root)} | {name: str(own / name) for name in FOLDERS}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_signals}
    with subprocess.Popen([*SERVER, *OPTIONS], cwd=project.root, env=environment, **quiet) as server:
        try:
            yield next(found[0] for line in server.stderr if (found := re.search(r"http://localhost:\d+/", line)))
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def page(browser):
    """Yield a laptop's window, and what its pages complained of."""
    said, window = [], browser.new_page(viewport={"width": 1280, "height": 800})
    window.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    window.on("pageerror", lambda error: said.append(str(error)))
    yield window, said
    window.close()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_runs_without_a_warning_and_what_it_shows_fits(address, page, name):
    window, said = page
    window.goto(f"{address}lab/tree/{name}.ipynb?token={TOKEN}")
    window.wait_for_function(OPENED.format(f"{name}.ipynb"), timeout=60_000)
    window.evaluate(WATCH)
    cells = [cell for cell in window.evaluate(RUN) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data"}
    assert any("image/png" in output["data"] for output in outputs)
    assert window.evaluate(CUT) == []
    assert said == []
    if name == "02_training":
        assert window.evaluate("bars") > 0
