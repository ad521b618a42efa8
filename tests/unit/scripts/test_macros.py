"""The command line of a trial: every macro of W&B, to the character."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.scripts.macros import MACROS, args_json, argv, wants_args_file
from sweeps.scripts.program import DEFAULT_COMMAND, Program

PARAMS: dict[str, Any] = {
    "amp": True,
    "drop": False,
    "lr": 1e-05,
    "big": 1e22,
    "n": 3,
    "none": None,
    "name": "a b; rm -rf / $(id) `id` 'x' \"y\"\n",
    "betas": [0.9, 0.99],
    "opt": {"eps": 1e-8, "name": "adam"},
    "../x y'": "é",
}
ENVIRON = {"HOME": "/home/me", "EMPTY": ""}
ARGS_FILE = Path("wandb/sweep-s/config-r.json")
COMMANDS: dict[str, tuple[str, ...]] = {
    "default": DEFAULT_COMMAND,
    **{name: ("${" + name + "}",) for name in MACROS},
    "hydra": ("${interpreter}", "-m", "pkg.train", "+e=x", "${args_no_hyphens}", "d=${now:%Y}_x"),
    "variables": ("${envvar:HOME}", "a${envvar:HOME}b${envvar:NOT_SET}", "${envvar:EMPTY}"),
    "small letters are no variable": ("${envvar:home}", "x${envvar:home}"),
    "within a word nothing else is a macro": ("--p=${program}", "${args} ", "$ {args}", "${}", "2"),
    "unknown": ("${arg}", "x", "${run_id}"),
    "all": tuple("${" + name + "}" for name in (*MACROS, "args")),
}


def made(command: tuple[str, ...], script: str | None = "train.py") -> list[str]:
    return argv(Program(command, script, Path()), PARAMS, ENVIRON, ARGS_FILE)


def test_the_default_command() -> None:
    assert made(DEFAULT_COMMAND)[:6] == [
        *("/usr/bin/env", "python", "train.py", "--amp=True", "--drop=False", "--lr=1e-05")
    ]


def test_flags_of_booleans() -> None:
    assert made(("${args_no_boolean_flags}",))[:3] == ["--amp", "--lr=1e-05", "--big=1e+22"]


def test_the_file_of_parameters_is_wanted_only_by_its_macro() -> None:
    program = Program(("python", "${args_json_file}"), None, Path())
    assert wants_args_file(program, {})
    assert not wants_args_file(Program(DEFAULT_COMMAND, "x", Path()), {})
    assert json.loads(args_json(PARAMS)) == PARAMS
    assert made(program.command)[-1] == str(ARGS_FILE)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_it_is_what_wandb_s_agent_runs(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NOT_SET", raising=False)
    args = {name: {"value": value} for name, value in PARAMS.items()}
    words = utils.create_sweep_command_args({"args": args})
    # What `wandb.wandb_agent.Agent._command_run` adds, and how it puts the words together.
    words |= {"interpreter": ["python"], "program": ["train.py"], "env": ["/usr/bin/env"]}
    words["args_json_file"] = [str(ARGS_FILE)]
    expected: list[str] = []
    for word in map(str, utils.create_sweep_command(list(command))):
        whole = word.startswith("${") and word.endswith("}")
        expected += (words.get(word[2:-1]) or []) if whole else [word]
    assert made(command) == expected
