"""`sweeps optimizers | schedules | averages | tasks`: what is there, defaults, search spaces."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options, render

if TYPE_CHECKING:
    from optimizers import Hyper


@click.command()
@options.json_output
def optimizers(as_json: bool) -> None:
    """List the optimizers, their hyperparameters, defaults and search spaces.

    Each takes `decay` (l2, decoupled or independent), and in `parameters` the switches `cautious`
    and `centralize`. Any other torch.optim.Optimizer goes by its dotted name:
    pytorch_optimizer.Adan.

    \b
    Examples:
      sweeps optimizers
      sweeps optimizers --json
    """
    from optimizers import ALGORITHMS

    if as_json:
        render.echo_json(
            {
                name: {
                    "paper": rule.paper,
                    "decay": rule.decay,
                    "switches": {key: list(values) for key, values in rule.switches.items()},
                    "hyperparameters": _hypers_json(rule.hypers),
                }
                for name, rule in ALGORITHMS.items()
            }
        )
        return
    for name, rule in ALGORITHMS.items():
        decay = f"weight decay: {rule.decay or 'its own'}"
        switches = "".join(f"; {key}: {_one_of(v)}" for key, v in rule.switches.items())
        _print_hypers(f"{name}   {rule.paper}\n{decay}{switches}", rule.hypers)


@click.command()
@options.json_output
def schedules(as_json: bool) -> None:
    """List the decay schedules, their hyperparameters, defaults and search spaces.

    \b
    Examples:
      sweeps schedules
      sweeps schedules --json
    """
    from optimizers import SCHEDULES

    if as_json:
        render.echo_json(
            {
                name: {
                    "summary": _summary(schedule),
                    "paper": schedule.paper,
                    "hyperparameters": _hypers_json(schedule.hypers),
                }
                for name, schedule in SCHEDULES.items()
            }
        )
        return
    for name, schedule in SCHEDULES.items():
        _print_hypers(f"{name}   {schedule.paper}\n{_summary(schedule)}", schedule.hypers)


@click.command()
@options.json_output
def averages(as_json: bool) -> None:
    """List the averages of the weights, their hyperparameters, defaults and search spaces.

    From its start on, a trial with an average is judged by the averaged weights. In a sweep file
    the knobs are nested: `swa: {parameters: {start: 0.8}}`.

    \b
    Examples:
      sweeps averages
      sweeps averages --json
    """
    from optimizers import AVERAGES

    if as_json:
        render.echo_json(
            {
                name: {
                    "summary": average.summary,
                    "paper": average.paper,
                    "hyperparameters": _hypers_json(average.hypers),
                }
                for name, average in AVERAGES.items()
            }
        )
        return
    for name, average in AVERAGES.items():
        _print_hypers(f"{name}   {average.summary}\n{average.paper}", average.hypers)


@click.command()
@options.json_output
def tasks(as_json: bool) -> None:
    """List the built-in tasks and what of them a sweep file can set.

    \b
    Examples:
      sweeps tasks
      sweeps tasks --json
    """
    from sweeps.tasks import TASKS, load_factory

    factories = {name: load_factory(name, Path.cwd()) for name in TASKS}
    defaults = {name: _arguments(factory) for name, factory in factories.items()}
    if as_json:
        render.echo_json(
            {
                name: {"summary": _summary(factory), "arguments": defaults[name]}
                for name, factory in factories.items()
            }
        )
        return
    rows = [
        (
            name,
            _summary(factory),
            ", ".join(_shown(*argument) for argument in defaults[name].items()),
        )
        for name, factory in factories.items()
    ]
    render.console().print(render.table(["task", "what", "task_args (defaults)"], rows))
    click.echo("Your own: task: my_model.py:factory, a function that returns a sweeps.Task.")


def _arguments(factory: Callable[..., object]) -> dict[str, Any]:
    """Return a factory's arguments with their defaults, None for one that must be given."""
    arguments = inspect.signature(factory).parameters.values()
    return {a.name: None if a.default is a.empty else a.default for a in arguments}


def _shown(name: str, default: object) -> str:
    return f"{name} (to be given)" if default is None else f"{name}={default}"


def _summary(thing: object) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]


def _hypers_json(hypers: Mapping[str, Hyper]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "default": hyper.default,
            "searched": hyper.searched,
            "low": hyper.low,
            "high": hyper.high,
            "scale": hyper.scale,
            "integer": hyper.integer,
        }
        for name, hyper in hypers.items()
    }


def _print_hypers(title: str, hypers: Mapping[str, Hyper]) -> None:
    rows = [(name, hyper.default, _space(name, hyper)) for name, hyper in hypers.items()]
    render.console().print(render.table(["knob", "default>", "searched in"], rows, title))


def _space(name: str, hyper: Hyper) -> str:
    if not hyper.searched:
        return "not searched unless you ask"
    if hyper.scale == "one_minus_log":
        return f"1 - {name} log [{1 - hyper.high:.3g}, {1 - hyper.low:.3g}]"
    kind = "whole numbers " if hyper.integer else ""
    return f"{kind}{hyper.scale} [{hyper.low:g}, {hyper.high:g}]"


def _one_of(values: tuple[object, ...]) -> str:
    return " | ".join(str(value).lower() for value in values)
