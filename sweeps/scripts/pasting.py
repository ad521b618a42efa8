"""A script's trial as a line to paste into a shell, and as the `baseline` of a next sweep file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.config import ScriptConfig
from sweeps.scripts.macros import args_json, argv, wants_args_file
from sweeps.scripts.program import Program

if TYPE_CHECKING:
    from studies import SweepRecord

ARGS_FILE = "args.json"


def stored_program(record: SweepRecord) -> Program | None:
    """Return the script of a study's sweep file, None where it is a task's."""
    spec = record.spec
    if spec.get("command") is None:
        return None
    return Program(
        command=tuple(spec["command"]),
        program=spec["program"],
        folder=Path(record.spec_file or "sweep.yaml").parent,
        working_directory=spec["working_directory"],
        env=spec["env"],
    )


def command_line(program: Program, config: ScriptConfig) -> str:
    """Return the commands that run the script once more, each word quoted for a POSIX shell.

    `${envvar:NAME}` is left to that shell as `${NAME}`.
    """
    variables = _Variables()
    words = argv(program, config.params, variables, Path(ARGS_FILE))
    line = " ".join(_quoted(word) for word in words)
    if program.env:
        values = " ".join(_literal(f"{name}={value}") for name, value in program.env.items())
        line = f"env {values} {line}"
    lines = [f"cd {_literal(str(program.directory))}"]
    if wants_args_file(program, variables):
        lines.append(f"printf %s {_literal(args_json(config.params))} > {ARGS_FILE}")
    return "\n".join([*lines, line])


class _Variables(Mapping[str, str]):
    """An environment in which every variable is a mark that `_quoted` finds again."""

    def __getitem__(self, name: str) -> str:
        return f"\0{name}\0"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _quoted(word: str) -> str:
    """Return a word for a shell: names of variables between marks are left to it."""
    parts = re.split("\0([A-Z0-9_]*)\0", word)
    names = [f'"${{{name}}}"' for name in parts[1::2]]
    texts = [_literal(text) if text or not names else "" for text in parts[::2]]
    return "".join(text + name for text, name in zip_longest(texts, names, fillvalue=""))


def _literal(text: str) -> str:
    r"""Return text for a shell; what no terminal should be shown stands as `\x1b` in `$'...'`."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join(
        each if each.isprintable() else "".join(f"\\x{byte:02x}" for byte in each.encode())
        for each in text.replace("\\", "\\\\").replace("'", "\\'")
    )
    return f"$'{escaped}'"


def script_yaml(config: ScriptConfig) -> str:
    """Return the parameters as the `baseline` of a next sweep file, in YAML that 1.1 reads too."""
    import yaml

    text: Any = yaml.safe_dump(
        {"baseline": dict(config.params)}, sort_keys=False, allow_unicode=True, width=100
    )
    return str(text).rstrip()
