"""`sweeps init | validate`: sweep files before they run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options, render
from sweeps.printable import printable

if TYPE_CHECKING:
    from sweeps.config import Config
    from sweeps.preview import Samples
    from sweeps.spec import Spec

TEMPLATE = """\
# A sweep file. See what it searches with `sweeps validate {file}`; run it with `sweeps run {file}`.
name: {name}

# `sweeps tasks` lists the built-in ones; your own: my_model.py:factory
task: {task}

# One name or a list to compare; `sweeps optimizers`, `sweeps schedules` and `sweeps averages` list
# them. Averages of the weights (swa, ema) are off unless you ask.
optimizer: {optimizer}
schedule: {schedule}
# average: [none, swa, ema]

metric: {{name: {metric}, goal: {goal}}}

# Trials in all (pruned and diverged ones count), and further limits; whichever is met first.
budget: {{trials: {trials}}}
# budget: {{trials: {trials}, time: 30m, trial_time: 5m}}

# The task's own, unless you say otherwise:
# epochs: 30
# batch_size: 32

# method: tpe                     # tpe | random | grid | gp | cmaes | qmc
# early_terminate: {{type: asha, min_epochs: auto, eta: 3}}        # or hyperband, median, ..., none

# Every knob has a default space; override what you know better. A plain value is not searched.
# parameters:
#   lr: {{distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-1}}
#   adamw: {{parameters: {{beta2: 0.999}}}}

# What you use today: trial 0, to compare with.
# baseline: {{optimizer: adamw, lr: 0.001}}
seed: 0
"""


@click.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sweep.yaml"),
    show_default=True,
    help="File to write.",
)
@click.option("--task", help="Task; see `sweeps tasks`.  [default: digits-mlp]")
@click.option("--optimizer", help="Optimizers, separated by commas.  [default: adamw,sgd]")
@click.option("--schedule", help="Schedules, separated by commas.  [default: cosine,step]")
@click.option("--trials", type=click.IntRange(min=1), help="Trials in all.  [default: 60]")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: take the defaults.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(
    output: Path,
    task: str | None,
    optimizer: str | None,
    schedule: str | None,
    trials: int | None,
    yes: bool,
    force: bool,
) -> None:
    """Write a commented sweep file to start from.

    \b
    Examples:
      sweeps init
      sweeps init --yes --task iris-mlp --optimizer adamw -o iris.yaml
    """
    from studies.errors import UserError

    if output.exists() and not force:
        raise UserError(f"{output} exists already. Give another --output, or --force to overwrite")

    def ask(question: str, given: Any, default: Any) -> Any:
        if given is not None or yes:
            return default if given is None else given
        return click.prompt(question, default=default)

    task = ask("Task (`sweeps tasks`, or your_file.py:factory)", task, "digits-mlp")
    by_loss = task == "exp-curve" or ":" in task
    text = TEMPLATE.format(
        file=output,
        name=output.stem,
        task=task,
        optimizer=_listed(ask("Optimizers, separated by commas", optimizer, "adamw,sgd")),
        schedule=_listed(ask("Schedules, separated by commas", schedule, "cosine,step")),
        metric="valid/loss" if by_loss else "valid/accuracy",
        goal="minimize" if by_loss else "maximize",
        trials=ask("Trials in all", trials, 60),
    )
    _write_checked(output, text)
    click.echo(f"Wrote {output}. Next: sweeps validate {output}; sweeps run {output}")


def _write_checked(output: Path, text: str) -> None:
    """Write a sweep file; put back what was there when it is wrong."""
    from studies.errors import UserError
    from sweeps.spec import load_spec

    before = output.read_text(encoding="utf-8") if output.exists() else None
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from error
    try:
        load_spec(output)
    except UserError:
        if before is None:
            output.unlink()
        else:
            output.write_text(before, encoding="utf-8")
        raise


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--plot", is_flag=True, help="Draw samples of the space and the schedules here.")
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw them to a PNG file.",
)
@options.json_output
def validate(file: Path, plot: bool, png: Path | None, as_json: bool) -> None:
    """Check FILE and print its search space: each knob, whose it is, and the number of points.

    \b
    Examples:
      sweeps validate sweep.yaml
      sweeps validate sweep.yaml --plot
      sweeps validate sweep.yaml --png space.png
    """
    from sweeps.spec import load_spec

    if plot and as_json:
        raise click.UsageError("--plot draws in the terminal; with --json give --png FILE")
    spec = load_spec(file)
    size = spec.space.size()
    if as_json:
        found = {"file": str(file), "size": size, "spec": spec.to_json()}
        render.echo_json(found | {"passed_over": list(spec.passed_over)})
    else:
        say_passed_over(spec)
        _print_space(spec, size)
    if plot or png is not None:
        _draw(spec, png, in_terminal=plot)


def say_passed_over(spec: Spec) -> None:
    """Name, in one line, the keys of the file that mean nothing here."""
    if spec.passed_over:
        names = printable(", ".join(spec.passed_over))
        click.echo(f"Note: {spec.path}: {names}: passed over, nothing reads them here", err=True)


def _work(spec: Spec) -> str:
    """Return what a trial runs."""
    if spec.program is None:
        return f"task {spec.task}"
    return f"program {spec.program.program or shlex.join(spec.program.command)}"


def _listed(names: str) -> str:
    parts = [name.strip() for name in names.split(",") if name.strip()]
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"


def _print_space(spec: Spec, size: int | None) -> None:
    metric, stop, budget = spec.metric, spec.early_terminate, spec.budget
    click.echo(
        f"{spec.path}: study '{spec.name}', {_work(spec)}, method {spec.method}\n"
        f"{metric.goal} {metric.name} ({metric.take} of a trial's values), {budget.trials} trials, "
        f"early_terminate {stop.type}"
    )
    rows = [
        (name, " | ".join(values), "yours" if name in spec.named else "default")
        for name, values in spec.space.choices.items()
    ]
    searched = [knob for knob in spec.space.knobs if knob.searched]
    fixed = [knob for knob in spec.space.knobs if not knob.searched]
    rows += [(knob.label, knob.distribution.describe(), knob.source) for knob in searched]
    rows += [(knob.label, f"= {knob.distribution.describe()}", knob.source) for knob in fixed]
    if spec.own_loop:
        click.echo(f"Task {spec.task}: {render.OWN_LOOP} (no lanes)")
    screen = render.console()
    screen.print(render.table(["knob", "searched in (or = fixed)", "from"], rows))
    points = "continuous, so any number of" if size is None else f"{size:,}"
    dimensions = len(spec.space.flat())
    click.echo(f"{dimensions} dimensions, {points} points")


def _draw(spec: Spec, png: Path | None, *, in_terminal: bool) -> None:
    from sweeps import preview

    points = preview.draw(spec.space, seed=spec.seed)
    samples = preview.samples_of(spec.space, points)
    sizes = {"epochs": spec.epochs or 1, "batch_size": spec.batch_size or 1}
    trained = points if spec.program is None else []  # a script has no schedule
    configs = [spec.space.config(point, **sizes) for point in trained]
    if in_terminal:
        _draw_here(samples, configs)
    if png is not None:
        preview.save_png(spec.space, samples, configs, png)
        click.echo(f"Wrote {png}", err=True)


def _draw_here(samples: list[Samples], configs: list[Config]) -> None:
    from sweeps import preview

    screen = render.console()
    rows = [
        (
            one.label,
            min(one.values) if one.numeric else "",
            render.sparkline(list(map(float, one.histogram(30))), low=0.0),
            max(one.values) if one.numeric else " | ".join(sorted(set(map(str, one.values)))),
            "log" if one.log else "",
        )
        for one in samples
    ]
    title = f"{preview.SAMPLES:,} samples of the space"
    screen.print(render.table(["knob", "from>", "samples", "to", "axis"], rows, title))
    curves = []
    for schedule in sorted({config.schedule for config in configs}):
        for config in [config for config in configs if config.schedule == schedule][:4]:
            own = {f"{config.average}.{k}": v for k, v in config.average_hypers.items()}
            shown = {**config.schedule_hypers, **own}.items()
            knobs = "  ".join(f"{name}={render.number(value)}" for name, value in shown)
            line = render.sparkline(preview.schedule_curve(config), width=50, low=0.0)
            curves.append((schedule, line, knobs))
    if not curves:
        return
    title = "Factor on the learning rate over a training"
    screen.print(render.table(["schedule", "", "knobs"], curves, title))
