"""MLflow's own pages in headless Chromium, by the port that is published on 127.0.0.1."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from playwright.sync_api import Page, expect, sync_playwright

from tests.integration.tracking.mlflow_reads import child_runs, parent_run

CHROMIUM = Path(os.environ.get("SWEEPLANE_CHROMIUM", "/usr/bin/chromium"))
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 60_000  # milliseconds that a page may take
VIEW = "?workflowType=machine_learning"


def browse(address: str, study: str, trials: int) -> dict[str, Any]:
    """Look at the runs, the parent and a chart as a user does; count requests to other places."""
    elsewhere: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        with browser.new_page(viewport={"width": 1500, "height": 1700}) as page:
            page.set_default_timeout(PATIENCE)
            page.on("request", lambda request: elsewhere.append(request.url))
            shown = _look(page, address, study, trials)
        browser.close()
    foreign = [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))]
    return {"pages_shown": shown, "must_be_0": {"requests_to_other_hosts": len(foreign)}}


def studies_of(address: str) -> list[str]:
    """The studies that optuna-dashboard lists."""
    with urllib.request.urlopen(f"{address}/api/studies", timeout=30) as answer:
        return [study["study_name"] for study in json.load(answer)["study_summaries"]]


def _look(page: Page, address: str, study: str, trials: int) -> list[str]:
    expect.set_options(timeout=PATIENCE)
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(study).experiment_id
    page.goto(f"{address}/#/experiments/{experiment}/runs{VIEW}")
    matching = page.get_by_text(re.compile(r"^[1-9]\d* matching runs"))
    expect(matching.first).to_be_visible()
    found = matching.first.inner_text()
    expect(page.get_by_role("link", name=study, exact=True).first).to_be_visible()
    page.goto(
        f"{address}/#/experiments/{experiment}/runs/{parent_run(client, study).info.run_id}{VIEW}"
    )
    expect(page.get_by_text(f"{trials} trials (")).to_be_visible()
    run = child_runs(client, study)[0]
    page.goto(f"{address}/#/experiments/{experiment}/runs/{run.info.run_id}/model-metrics{VIEW}")
    expect(page.get_by_text(run.info.run_name).first).to_be_visible()
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .scatterlayer').length > 0")
    return [f"runs of the experiment: {found}", f"parent: {trials} trials", "charts of a trial"]
