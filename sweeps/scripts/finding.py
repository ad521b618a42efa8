"""Whether a script can be run here: its folder, the file, what it is run with."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.errors import SweeplaneError, UserError
from sweeps.scripts.macros import first_word
from sweeps.scripts.program import Program

if TYPE_CHECKING:
    from sweeps.tasks.task import Task


def check_program(program: Program, file: str) -> None:
    """Refuse a program that no trial could start; `file` is the sweep file.

    Raises:
        UserError: the working directory, the script or the command is not there.
    """
    folder = program.directory
    if not folder.is_dir():
        raise UserError(
            f"{file}: working_directory '{program.working_directory}' is not there: {folder} is no "
            "folder. It is seen from the sweep file's folder"
        )
    script = program.program
    if script is not None and program.runs_file and not (folder / script).is_file():
        raise UserError(
            f"{file}: program '{script}' is not there: no file {folder / script}. "
            f"{_remedy(program)}"
        )
    word = first_word(program)
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    found = shutil.which(str(folder / word) if "/" in word else word, path=path)
    if word and found is None:
        raise UserError(
            f"{file}: the command starts with '{word}', which is not on the PATH here. "
            "Install it, activate its environment, or name another one in `command`"
        )


def no_task(_: Mapping[str, Any]) -> Task:
    """The `Tasks` of a sweep of scripts, which no trial asks for."""
    raise SweeplaneError("a trial of a script asked for a task, and there is none")


def _remedy(program: Program) -> str:
    """Return what to do about a script that is not in the folder in which trials run."""
    name = str(program.program)
    for up, folder in enumerate(program.folder.resolve().parents, 1):
        if (folder / name).is_file():
            way = "/".join([".."] * up)
            return f"It is in {folder}: add 'working_directory: {way}' to the sweep file"
    if Path(name).is_file():
        return f"It is in {Path.cwd()}: add that as `working_directory` to the sweep file"
    return "Name it as seen from the sweep file's folder, or set `working_directory`"
