"""A sweep file's task, looked at by a worker, which has torch sooner than `sweeps run` would.

It imports little: workers are started before the rest comes.

request.json   which file, with which overrides       answer.json   epochs and batch size, or
                                                                    why it is refused
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.launch import OpenTask
    from sweeps.spec import Spec


REQUEST, ANSWER = "request.json", "answer.json"
LOOK_SECONDS = 0.01


def write_request(folder: Path, spec: Spec) -> Path:
    """Ask for a look at a sweep's file as it was read; return the request that a worker answers."""
    request = folder / REQUEST
    overrides = {"device": spec.device, "workers": spec.workers}  # which the command line may give
    request.write_text(json.dumps({"file": str(spec.path.absolute()), "overrides": overrides}))
    return request


def answer(request: Path) -> None:
    """Look at the task that a request is about; a request that is not there any more is none."""
    from studies import UserError
    from sweeps.launch import open_task
    from sweeps.spec import load_spec

    with suppress(FileNotFoundError):
        asked = json.loads(request.read_text())
        try:
            own = open_task(load_spec(asked["file"], asked["overrides"]))
            said: dict[str, Any] = {"epochs": own.epochs, "batch_size": own.batch_size}
        except UserError as error:
            said = {"error": str(error)}
        draft = request.with_name(f"{ANSWER}.draft")
        draft.write_text(json.dumps(said))
        os.replace(draft, request.with_name(ANSWER))
        request.unlink()  # a worker that is started again has nothing to look at


def answered(request: Path, alive: Callable[[], bool]) -> Callable[[Spec], OpenTask]:
    """Return an `open_task` that waits for the answer; if nobody lives to give it, it looks itself.

    What it returns has no tasks to build.
    """

    def wait(spec: Spec) -> OpenTask:
        from studies import UserError
        from sweeps.launch import OpenTask, open_task
        from sweeps.scripts.finding import no_task

        there = request.with_name(ANSWER)
        while not there.exists():
            if not alive():
                return open_task(spec)
            time.sleep(LOOK_SECONDS)
        said = json.loads(there.read_text())
        if "error" in said:
            raise UserError(said["error"].replace(str(spec.path.absolute()), str(spec.path)))
        return OpenTask(no_task, said["epochs"], said["batch_size"])

    return wait
