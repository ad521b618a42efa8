"""JSON lines of what a process does, on request (`--log json`): one object a line.

    {"time": "2026-11-20T20:08:31.123+00:00", "level": "info", "event": "trial ended",
     "study": "digits", "worker": "node-1:4711", "trial": 17, "outcome": "pruned", "epochs": 4}

`study`, `worker` and `trial` stand in each, `trial` as null where a line is of none. What libraries
log, and Python's warnings, come as such lines too.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TextIO

from studies import mask_passwords
from studies.processes import this_process

_FIELDS = "fields"

log = logging.getLogger("sweeps")
tells_errors = False
"""Is the error that ends this process such a line too?"""


def event(text: str, *, trial: int | None = None, **fields: object) -> None:
    """Log what happened, of a trial or of the whole process."""
    log.info(text, extra={_FIELDS: {"trial": trial, **fields}})


def to_json_lines(study: str, stream: TextIO, *, errors: bool = True) -> None:
    """Log to `stream` from now on, each line with the study and this process.

    `errors`: so does the error that ends this process; else it is text on standard error.
    """
    global tells_errors
    tells_errors = errors
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines(study))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    log.setLevel(logging.INFO)


class _JsonLines(logging.Formatter):
    """A record as a line of JSON; no password of a URL stands in it."""

    def __init__(self, study: str) -> None:
        super().__init__()
        self._own = {"study": study, "worker": this_process().name, "trial": None}

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": mask_passwords(record.getMessage()),
            **self._own,
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            said["traceback"] = mask_passwords(self.formatException(record.exc_info))
        return json.dumps(said, default=str)
