"""The command line of a trial: the words of `command` with W&B's macros filled in.

    ${env}            /usr/bin/env              ${args}                   --lr=0.1
    ${interpreter}    python                    ${args_no_equals}         --lr 0.1
    ${program}        the script                ${args_no_hyphens}        lr=0.1
    ${args_json}      {"lr": 0.1}               ${args_append_hydra}      +lr=0.1
    ${args_json_file} a file that holds it      ${args_override_hydra}    ++lr=0.1
    ${envvar:NAME}    a variable of the worker  ${args_no_boolean_flags}  --flag if true

Source: `wandb.sdk.launch.sweeps.utils` and `wandb.wandb_agent`, whose command line is the same to
the character. As there, a macro that nobody knows is left out, an environment variable that is not
set becomes its name, and a value is what `str` makes of it. No word ever passes through a shell.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeps.scripts.program import Program

_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
ARGS_FILE = "${args_json_file}"

MACROS = (
    *("env", "interpreter", "program", "args", "args_no_hyphens", "args_no_equals"),
    *("args_append_hydra", "args_override_hydra", "args_no_boolean_flags"),
    *("args_json", "args_json_file"),
)
"""The macros that stand for a whole word of the command, `${envvar:NAME}` apart."""


def argv(
    program: Program, params: Mapping[str, Any], environ: Mapping[str, str], args_file: Path
) -> list[str]:
    """Return the words to execute for one trial.

    `params` are the trial's (`ScriptConfig.params`), `environ` is the worker's environment.
    `args_file` is the path that `${args_json_file}` stands for: the caller writes `args_json`
    there when `wants_args_file`.
    """
    whole = _whole_words(program, params, args_file)
    words: list[str] = []
    for word in _with_variables(program.command, environ):
        if word.startswith("${") and word.endswith("}"):
            words += whole.get(word[2:-1], [])
        else:
            words.append(word)
    return words


def first_word(program: Program) -> str:
    """Return the executable of the command, as far as no trial's parameters name it."""
    for word in argv(program, {}, os.environ, Path()):
        return word
    return ""


def wants_args_file(program: Program, environ: Mapping[str, str]) -> bool:
    """Return whether the command reads the trial's parameters from a file."""
    return ARGS_FILE in _with_variables(program.command, environ)


def args_json(params: Mapping[str, Any]) -> str:
    """Return the text of `${args_json}` and of the file of `${args_json_file}`."""
    return json.dumps(params)


def _with_variables(command: tuple[str, ...], environ: Mapping[str, str]) -> Iterator[str]:
    for word in command:
        yield _VARIABLE.sub(lambda found: environ.get(found[1], found[1]), word)


def _whole_words(
    program: Program, params: Mapping[str, Any], args_file: Path
) -> dict[str, list[str]]:
    pairs = [f"{name}={value}" for name, value in params.items()]
    return {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [] if program.program is None else [program.program],
        "args": [f"--{pair}" for pair in pairs],
        "args_no_equals": [word for n, v in params.items() for word in (f"--{n}", str(v))],
        "args_no_hyphens": pairs,
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
        "args_no_boolean_flags": [_flag(n, v) for n, v in params.items() if v is not False],
        "args_json": [args_json(params)],
        "args_json_file": [str(args_file)],
    }


def _flag(name: str, value: Any) -> str:
    return f"--{name}" if value is True else f"--{name}={value}"
