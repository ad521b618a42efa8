"""What a program file says about the script of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
"""The command of a file that gives none: W&B's."""

EXIT_CODE = "exit_code"
"""The metric of a file that names none: 0 for every trial whose script ends well."""


@dataclass(frozen=True)
class Program:
    """The script of a sweep, and how a trial runs it.

    `command`: the words of the command line, with W&B's macros in them. `program`: the script as
    the file names it, seen from `directory`; None where the command names it itself. `folder`: the
    sweep file's. `working_directory`: as the file gives it, seen from `folder`. `env`: variables
    that each trial gets beside those of its worker. `metrics_file`: a JSON-lines file in
    `directory`, or an absolute path, that the script writes: one object a line, metric -> number;
    a `{trial}` in it is the trial's number, since trials share the directory.
    `trials_per_device`: how many trials run on one device (or CPU worker) at once.
    """

    command: tuple[str, ...]
    program: str | None
    folder: Path
    working_directory: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    metrics_file: str | None = None
    trials_per_device: int = 1

    @property
    def runs_file(self) -> bool:
        """Whether `program` is a file: it may be a module (`-m`), or not be in the command."""
        pairs = zip(("", *self.command), self.command, strict=False)
        return any(word == "${program}" and before != "-m" for before, word in pairs)

    @property
    def directory(self) -> Path:
        """The folder in which the script runs."""
        return self.folder / (self.working_directory or "")
