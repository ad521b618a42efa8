"""`sweeps run`, then `sweeps ui`, then MLflow's own pages in headless Chromium."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sweeps.mlflow_ui import serve
from tests.e2e.conftest import SWEEPS, environment

CHROMIUM = Path(os.environ.get("SWEEPLANE_CHROMIUM", "/usr/bin/chromium"))
ARTIFACTS = Path(
    os.environ.get("SWEEPLANE_ARTIFACTS", Path(__file__).resolve().parents[2] / "artifacts")
)
PATIENCE = 60_000  # milliseconds that the page may take
VIEW = "?workflowType=machine_learning"
expect.set_options(timeout=PATIENCE)

SWEEP = """
name: flowers
task: iris-mlp
optimizer: [adamw, sgd]
schedule: cosine
metric: {name: valid/accuracy, goal: maximize}
epochs: 5
run_cap: 4
early_terminate: none
"""


@dataclass(frozen=True)
class Swept:
    """A finished sweep in its folder: the exported trials, and MLflow's ids."""

    folder: Path
    trials: list[dict[str, Any]]
    experiment: str
    parent: str
    children: dict[int, tuple[str, str]]  # trial number -> run id, name


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("ui")
    (folder / "sweep.yaml").write_text(SWEEP)
    for arguments in (["run", "sweep.yaml"], ["export", "flowers", "-o", "flowers.json"]):
        subprocess.run([SWEEPS, *arguments], cwd=folder, env=environment(), check=True)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("flowers").experiment_id
    runs = client.search_runs([experiment])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {
        int(run.data.tags["trial"]): (run.info.run_id, run.info.run_name)
        for run in runs
        if run is not parent
    }
    trials = json.loads((folder / "flowers.json").read_text())["trials"]
    return Swept(folder, trials, experiment, parent.info.run_id, children)


def start_ui(folder: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    """Start `sweeps ui`; return it with the page that it names."""
    process = subprocess.Popen(
        [SWEEPS, "ui", "--port", str(port)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    found = re.search(r"http://127\.0\.0\.1:\d+/\S+", line)
    assert found is not None, line
    return process, found[0]


@pytest.fixture(scope="module")
def ui(swept: Swept) -> Iterator[str]:
    """The page that `sweeps ui` names."""
    process, address = start_ui(swept.folder, 0)
    yield address
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, Debian's."""
    if not CHROMIUM.exists():
        pytest.fail(
            f"{CHROMIUM} is not there. Install it: apt-get update && apt-get install -y chromium; "
            "or set SWEEPLANE_CHROMIUM to another Chromium's path."
        )
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, ui: str) -> Iterator[Page]:
    """A page that may ask this server only."""
    server = ui.partition("/#")[0]
    with browser.new_page(viewport={"width": 1500, "height": 1700}) as page:
        elsewhere: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: elsewhere.append(request.url))
        yield page
        assert [u for u in elsewhere if not u.startswith((server, "data:", "blob:"))] == []


def keep(page: Page, name: str) -> None:
    """Keep a screenshot as an artifact of the tests."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def test_experiment_parent_and_children_are_on_the_page(page: Page, ui: str, swept: Swept) -> None:
    page.goto(ui)
    expect(page.get_by_role("link", name="flowers", exact=True).first).to_be_visible()
    expect(page.get_by_text("5 matching runs")).to_be_visible()
    runs = page.get_by_role("gridcell")
    expect(runs.get_by_role("link", name="flowers", exact=True)).to_be_visible()
    expect(runs.get_by_role("link", name=swept.children[0][1])).to_have_count(0)
    runs.get_by_role("button").first.click()  # opens the parent
    for trial in swept.trials:
        params = trial["params"]
        name = f"{trial['number']:04d} {params['optimizer']} x {params['schedule']}"
        assert swept.children[trial["number"]][1] == name
        expect(runs.get_by_role("link", name=name)).to_be_visible()
    keep(page, "mlflow-runs")


def test_the_parent_describes_the_sweep(page: Page, ui: str, swept: Swept) -> None:
    server = ui.partition("/#")[0]
    page.goto(f"{server}/#/experiments/{swept.experiment}/runs/{swept.parent}{VIEW}")
    expect(page.get_by_text("4 trials (4 complete)")).to_be_visible()
    best = max(trial["value"] for trial in swept.trials)
    expect(page.get_by_role("cell", name=f"{best:.5g}", exact=True).first).to_be_visible()
    keep(page, "mlflow-parent")


def test_a_childs_metric_chart_has_its_curve(page: Page, ui: str, swept: Swept) -> None:
    server = ui.partition("/#")[0]
    run, name = swept.children[1]
    page.goto(f"{server}/#/experiments/{swept.experiment}/runs/{run}/model-metrics{VIEW}")
    expect(page.get_by_text(name).first).to_be_visible()
    curve = [value for _, value in swept.trials[1]["curves"]["valid/accuracy"]]
    found = page.wait_for_function(
        """curve => [...document.querySelectorAll('.js-plotly-plot')].find(plot =>
            plot.data.some(line => String([...line.x]) === '1,2,3,4,5'
                && [...line.y].every((y, i) => Math.abs(y - curve[i]) < 1e-9)))""",
        arg=curve,
    )
    chart = found.as_element()
    assert chart is not None
    chart.scroll_into_view_if_needed()
    points = chart.query_selector_all("svg.main-svg .scatterlayer .point")
    assert [point.is_visible() for point in points[:5]] == [True] * 5
    keep(page, "mlflow-chart")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_frees_its_port(swept: Swept, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process, address = start_ui(swept.folder, port)
    found = re.search(r":(\d+)/", address)
    assert found is not None
    used = int(found[1])
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"Port {port} is taken, so it is on {used}." in said
    with socket.create_server(("127.0.0.1", used)):
        pass


def test_a_server_that_runs_already_is_pointed_to(capsys: pytest.CaptureFixture[str]) -> None:
    serve("https://me:secret@mlflow.example.org:5000")
    assert capsys.readouterr().out == "MLflow's UI: https://me:***@mlflow.example.org:5000\n"
