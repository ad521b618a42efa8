"""What a user takes home: the best configuration to paste, and baseline against best."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies import get_sweep, queries
from sweeps.config import AnyConfig, Config, ScriptConfig, read_config
from sweeps.engines.base import Objective
from sweeps.scripts.pasting import command_line, script_yaml, stored_program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from studies import StudyStorage
    from studies.rows import TrialRow

PLACES = 6  # significant digits of a pasted number


def best_row(storage: StudyStorage, study_name: str) -> TrialRow | None:
    """Return the best complete trial, None while there is none.

    Raises:
        UserError: no such study.
    """
    rows = queries.leaderboard(storage, study_name, top=1)
    return rows[0] if rows and rows[0].outcome == "complete" else None


def baseline_row(storage: StudyStorage, study_name: str) -> TrialRow | None:
    """Return the baseline's trial when it is complete; the last one's, where the file changed."""
    rows = queries.leaderboard(storage, study_name)
    found = [row for row in rows if row.origin == "baseline" and row.outcome == "complete"]
    return max(found, key=lambda row: row.number, default=None)


def baseline_to_best(storage: StudyStorage, study_name: str) -> list[tuple[str, float, float]]:
    """Return (metric, baseline's value, best trial's value): the objective, then validation and
    test metrics at the end of training. Empty while one of the two is missing.
    """
    baseline, best = baseline_row(storage, study_name), best_row(storage, study_name)
    if baseline is None or best is None or baseline.value is None or best.value is None:
        return []
    metric = queries.status(storage, study_name).metric
    rows = [(metric, baseline.value, best.value)]
    curves = queries.curves(storage, study_name, {baseline.number, best.number})
    first, second = curves[baseline.number], curves[best.number]
    for name in sorted(first):
        if name in second and name.startswith(("valid/", "test/")):
            label = f"{name} (last epoch)" if name.startswith("valid/") else name
            rows.append((label, first[name][-1][1], second[name][-1][1]))
    return rows


def objective(storage: StudyStorage, study_name: str) -> Objective:
    """Return what the study's trials are judged by."""
    now = queries.status(storage, study_name)
    return Objective(now.metric, maximize=now.direction == "maximize")


def pasted(storage: StudyStorage, study_name: str, row: TrialRow) -> str:
    """Return what `sweeps best` prints of a trial that Sweeplane made: to paste, and as YAML."""
    config, program = _made(storage, study_name, row)
    if isinstance(config, Config):
        return paste(config, objective(storage, study_name))
    line = "the command is not in this study DB" if program is None else program
    return _both(line, script_yaml(config), "")


def pasted_json(storage: StudyStorage, study_name: str, row: TrialRow) -> dict[str, str]:
    """Return the same for a program: `python` or `command`, and `yaml`."""
    config, program = _made(storage, study_name, row)
    if isinstance(config, Config):
        code = python_code(config, objective(storage, study_name))
        return {"python": code, "yaml": yaml_text(config)}
    return {"command": program or "", "yaml": script_yaml(config)}


def _made(storage: StudyStorage, study_name: str, row: TrialRow) -> tuple[AnyConfig, str | None]:
    """Return a trial's configuration and, of a script, its command line."""
    config, sweep = read_config(row.config or {}), get_sweep(storage, study_name)
    program = stored_program(sweep.record) if sweep is not None else None
    if program is None or not isinstance(config, ScriptConfig):
        return config, None
    return config, command_line(program, config)


def python_code(config: Config, judged: Objective) -> str:
    """Return the optimizer, the average and the schedule as code to paste.

    They are under torch's names where they can be.
    """
    from optimizers import AVERAGES, SCHEDULES

    lines = [_optimizer_code(config)]
    average = AVERAGES.get(config.average)
    if average is not None:
        lines += _average_code(config)
    constant = config.schedule == "constant" and not any(config.schedule_hypers.values())
    if constant and not (average and average.moves_lr):
        return "\n".join(lines)
    feedback = SCHEDULES[config.schedule].feedback
    arguments = [f"total_steps={config.epochs} * steps_per_epoch"]
    arguments += ["maximize=True"] if feedback and judged.maximize else []
    arguments += ["average=average"] if average and average.moves_lr else []
    arguments += _arguments(config.schedule_hypers)
    lines.append(
        f'scheduler = optimizers.ScheduleLR(optimizer, "{config.schedule}", '
        f"{', '.join(arguments)})  # step() after each optimizer step"
    )
    if feedback:
        lines.append(f"# after each evaluation: scheduler.observe(<{judged.name}>)")
    return "\n".join(lines)


def _average_code(config: Config) -> list[str]:
    total = f"total_steps={config.epochs} * steps_per_epoch"
    arguments = ", ".join([total, *_arguments(config.average_hypers)])
    return [
        f'average = optimizers.WeightAverage(model, "{config.average}", {arguments})'
        "  # update() after each optimizer step",
        "# to evaluate: average.update_bn(<training batches>) where the model has BatchNorm, then",
        "# within `with average.applied():`",
    ]


def _arguments(hypers: Mapping[str, float]) -> list[str]:
    return [f"{name}={_literal(value)}" for name, value in hypers.items()]


def _optimizer_code(config: Config) -> str:
    """Return the optimizer's line; its arguments are lr and those that are not the defaults."""
    from optimizers import ALGORITHMS
    from optimizers.handover import HandOver

    algorithm = ALGORITHMS[config.optimizer]
    values, parameters = _constructor(config)
    given = {
        name: value
        for name, value in values.items()
        if name == "lr" or (name in parameters and value != parameters[name].default)
    }
    path = f"optimizers.{algorithm.class_name}"
    if isinstance(algorithm, HandOver):
        path = algorithm.path
    elif algorithm.torch_twin and given.keys() <= torch_arguments(algorithm.class_name):
        path = f"torch.optim.{algorithm.class_name}"
    arguments = ", ".join(f"{name}={_literal(value)}" for name, value in given.items())
    code = f"optimizer = {path}(model.parameters(), {arguments})"
    if getattr(algorithm, "averages", False):
        code += "  # evaluate within `with optimizer.averaged():`"
    return code


def torch_arguments(class_name: str) -> set[str]:
    """Return the arguments of a class of `torch.optim`, read off its source; empty: there is none.

    torch itself takes a second to import, which a command that prints one line does without.
    """
    torch = find_spec("torch")
    for folder in torch.submodule_search_locations or () if torch else ():
        for file in sorted(Path(folder, "optim").glob("*.py")):
            source = file.read_text(encoding="utf-8")
            if f"\nclass {class_name}(" not in source:
                continue
            for node in ast.parse(source).body:
                if isinstance(node, ast.ClassDef) and node.name == class_name:
                    made = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                    init = next(each for each in made if each.name == "__init__")
                    arguments = [*init.args.args[1:], *init.args.kwonlyargs]
                    return {argument.arg for argument in arguments}
    return set()


def _constructor(config: Config) -> tuple[Mapping[str, Any], Mapping[str, inspect.Parameter]]:
    """Return what the optimizer's constructor is given, and its parameters.

    No optimizer is made: torch's first one imports its compiler (0.6 s).
    """
    from optimizers import ALGORITHMS
    from optimizers.drop_in.arguments import knob_arguments, param_group, signature
    from optimizers.handover import HandOver

    algorithm = ALGORITHMS[config.optimizer]
    hypers, switches = config.hypers, config.switches
    if isinstance(algorithm, HandOver):
        return algorithm.arguments(hypers, switches), algorithm.parameters
    given = knob_arguments(algorithm, hypers, switches)
    return param_group(algorithm, [], (), given), signature(algorithm).parameters


def yaml_text(config: Config) -> str:
    """Return the configuration as the `baseline` of a next sweep file."""
    from ruamel.yaml import YAML
    from ruamel.yaml.compat import StringIO

    from sweeps.spec import known_entry

    stream = StringIO()
    entry = {name: _rounded(value) for name, value in known_entry(config).items()}
    YAML().dump({"baseline": entry}, stream)
    return str(stream.getvalue()).rstrip()


def paste(config: Config, judged: Objective) -> str:
    """Return code and YAML together, as `sweeps best` prints them."""
    size = f"  # {config.epochs} epochs, batch size {config.batch_size}\n"
    return _both(python_code(config, judged), yaml_text(config), size)


def _both(code: str, yaml: str, note: str) -> str:
    code, yaml = textwrap.indent(code, "  "), textwrap.indent(yaml, "  ")
    return f"{code}\n{note}\nThe same for a sweep file:\n\n{yaml}".rstrip()


def _rounded(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        rounded = float(f"{value:.{PLACES}g}")
        return value if rounded == 1 else rounded  # a beta must stay below 1
    return value


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))})"
    return repr(_rounded(value))
