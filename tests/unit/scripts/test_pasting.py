"""The command to paste: a shell runs it and the script gets the trial's very words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sweeps.config import ScriptConfig
from sweeps.scripts.macros import argv
from sweeps.scripts.pasting import command_line, script_yaml
from sweeps.scripts.program import Program

PARAMS = {
    "a": "x; touch hit $(touch hit) `touch hit` > hit\n\x1b[31m'\\n é\x85",
    "lr": 1e-05,
    "../b '": [1, "q"],
    "o": {"yes": "no", "n": None},
}
ECHO = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('A B'), os.getcwd()]))"


@pytest.mark.parametrize("macro", ["${args}", "${args_no_equals}", "${args_json}", "${program}"])
def test_a_shell_gives_the_script_the_same_words(tmp_path: Path, macro: str) -> None:
    folder = tmp_path / "it's a folder"
    (folder / "run").mkdir(parents=True)
    command = (sys.executable, "-c", ECHO, macro, "${envvar:OWN}/a b", "", "$HOME*")
    program = Program(command, "a 'b'.py", folder, "run", env={"A B": "x y'$(id)"})
    line = command_line(program, ScriptConfig(PARAMS))
    assert line.replace("\n", "").isprintable()
    environ = {"PATH": "/usr/bin:/bin", "OWN": "/own place"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    words, variable, where = json.loads(done.stdout)
    assert words == argv(program, PARAMS, environ, Path())[3:]
    assert (variable, where) == ("x y'$(id)", str(folder / "run"))
    assert not list(tmp_path.rglob("hit"))


def test_a_file_of_parameters_is_written_first(tmp_path: Path) -> None:
    program = Program(("cat", "${args_json_file}"), None, tmp_path)
    line = command_line(program, ScriptConfig(PARAMS))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == PARAMS


def test_the_yaml_is_a_baseline_that_program_files_read_back() -> None:
    text = script_yaml(ScriptConfig(PARAMS))
    assert yaml.safe_load(text) == {"baseline": PARAMS}
