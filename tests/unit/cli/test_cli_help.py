"""Every command has help with examples, and stands in the README."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sweeps.cli import main

INNER = sorted(
    (outer, inner)
    for outer, group in main.commands.items()
    if isinstance(group, click.Group)
    for inner in group.commands
)
README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(main.commands))
def test_a_command_has_help_and_examples(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert "Examples:" in shown.output
    assert f"  sweeps {name}" in shown.output
    for parameter in main.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} --{parameter.name} has no help"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_a_command_stands_in_the_readme(name: str) -> None:
    assert f"sweeps {name}" in README


@pytest.mark.parametrize(("outer", "inner"), INNER)
def test_a_command_of_a_group_has_both_too(outer: str, inner: str) -> None:
    shown = CliRunner().invoke(main, [outer, inner, "--help"])
    assert shown.exit_code == 0
    assert f"  sweeps {outer} {inner}" in shown.output.partition("Examples:")[2]
    assert f"sweeps {outer} {inner}" in README


def test_completion_offers_the_commands() -> None:
    from click.shell_completion import BashComplete

    complete = BashComplete(main, {}, "sweeps", "_SWEEPS_COMPLETE")
    offered = {item.value for item in complete.get_completions([], "s")}
    assert offered == {"schedules", "show", "status", "stop", "storage"}
