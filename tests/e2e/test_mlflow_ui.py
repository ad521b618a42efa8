"""MLflow's UI as `sweeps ui` starts it, in headless Chromium."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState
from playwright.sync_api import Browser, Page, expect, sync_playwright

from studies import Finish, Report, SweepRecord, create_sweep, open_storage, set_status
from sweeps.config import Config
from sweeps.mlflow_ui import Server, serve
from sweeps.tracking import sync

CHROMIUM = Path(os.environ.get("SWEEPLANE_CHROMIUM", "/usr/bin/chromium"))
ARTIFACTS = Path(
    os.environ.get("SWEEPLANE_ARTIFACTS", Path(__file__).resolve().parents[2] / "artifacts")
)
PATIENCE = 60_000  # milliseconds that the page may take
VIEW = "?workflowType=machine_learning"
expect.set_options(timeout=PATIENCE)

CURVES = {0: [0.5, 0.75, 0.875], 1: [0.25, 0.5, 0.625], 2: [0.125]}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished sweep "digits" of three trials, copied to a fresh MLflow store."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = tmp_path_factory.mktemp("ui")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    record = SweepRecord(
        spec_text="task: digits-mlp\n",
        spec_file="examples/digits.yaml",
        spec={"metric": {"name": "valid/accuracy", "goal": "maximize"}},
        space={},
        seed=0,
        environment={},
    )
    with open_storage(f"sqlite:///{folder / 'sweeps.db'}") as storage:
        study_id = create_sweep(storage, "digits", ["maximize"], record)
        study = optuna.load_study(study_name="digits", storage=storage)
        for number, curve in CURVES.items():
            trial = study.ask()
            config = Config(
                "adamw" if number == 0 else "sgd",
                {"lr": 0.015625, "weight_decay": 0.5},
                {},
                "cosine",
                {"warmup_fraction": 0.05},
                "none",
                len(curve),
                32,
            )
            trial.set_user_attr("config", config.to_json())
            for epoch, value in enumerate(curve, 1):
                point = Report(trial._trial_id, epoch, value, {"valid/loss": 1 - value})
                storage.report([point])
            attrs = {"outcome": "complete", "epochs": len(curve), "seconds": 1.0}
            finish = Finish(trial._trial_id, TrialState.COMPLETE, [max(curve)], user_attrs=attrs)
            storage.finish([finish])
        set_status(storage, study_id, "finished")
        sync(storage, "digits", uri)
    return uri


@pytest.fixture(scope="module")
def server(tracking: str) -> Iterator[Server]:
    """MLflow's server on the store."""
    with Server(tracking, port=0) as server:
        yield server


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
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page that may ask this server only."""
    with browser.new_page(viewport={"width": 1500, "height": 950}) as page:
        elsewhere: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: elsewhere.append(request.url))
        yield page
        assert [u for u in elsewhere if not u.startswith((server.address, "data:", "blob:"))] == []


def keep(page: Page, name: str) -> None:
    """Keep a screenshot as an artifact of the tests."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def test_experiment_parent_and_children_are_on_the_page(page: Page, server: Server) -> None:
    page.goto(server.start_page())
    expect(page.get_by_role("link", name="digits", exact=True).first).to_be_visible()
    expect(page.get_by_text("4 matching runs")).to_be_visible()
    runs = page.get_by_role("gridcell")
    expect(runs.get_by_role("link", name="digits", exact=True)).to_be_visible()
    expect(runs.get_by_role("link", name="0000 adamw x cosine")).to_have_count(0)
    runs.get_by_role("button").first.click()  # opens the parent
    for number, optimizer in enumerate(("adamw", "sgd", "sgd")):
        name = f"{number:04d} {optimizer} x cosine"
        expect(runs.get_by_role("link", name=name)).to_be_visible()
    keep(page, "mlflow-runs")


def test_the_parent_describes_the_sweep(page: Page, server: Server, tracking: str) -> None:
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name("digits").experiment_id
    (parent,) = client.search_runs([experiment], "tags.status = 'finished'")
    page.goto(f"{server.address}/#/experiments/{experiment}/runs/{parent.info.run_id}{VIEW}")
    expect(page.get_by_text("3 trials (3 complete)")).to_be_visible()
    expect(page.get_by_role("cell", name="0.875", exact=True).first).to_be_visible()
    expect(page.get_by_text("Parameters (8)")).to_be_visible()
    keep(page, "mlflow-parent")


def test_a_childs_metric_chart_has_its_curve(page: Page, server: Server, tracking: str) -> None:
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name("digits").experiment_id
    (child,) = client.search_runs([experiment], "tags.trial = '0'")
    route = f"#/experiments/{experiment}/runs/{child.info.run_id}/model-metrics{VIEW}"
    page.goto(f"{server.address}/{route}")
    expect(page.get_by_text("0000 adamw x cosine").first).to_be_visible()
    found = page.wait_for_function(
        """() => [...document.querySelectorAll('.js-plotly-plot')].find(plot =>
            plot.data.some(line => String([...line.x]) === '1,2,3'
                && String([...line.y]) === '0.5,0.75,0.875'))"""
    )
    chart = found.as_element()
    assert chart is not None
    chart.scroll_into_view_if_needed()
    points = chart.query_selector_all("svg.main-svg .scatterlayer .point")
    assert [point.is_visible() for point in points[:3]] == [True] * 3
    keep(page, "mlflow-chart")


SERVE = "import sys; from sweeps.mlflow_ui import serve; serve(sys.argv[1], port=int(sys.argv[2]))"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_frees_its_port(tracking: str, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, tracking, str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        watchdog = threading.Timer(90, process.kill)
        watchdog.start()
        line = process.stdout.readline()
        watchdog.cancel()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
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
