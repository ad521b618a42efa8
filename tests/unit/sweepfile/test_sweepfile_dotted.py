"""Optimizers of other libraries by their dotted names, and switches that every optimizer has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engines.base import Objective
from sweeps.spec import Spec, SpecError, load_spec
from sweeps.summary import python_code, yaml_text

Load = Callable[[str], Spec]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(text: str) -> Spec:
        path = tmp_path / "sweep.yaml"
        path.write_text(f"task: digits-mlp\n{text}")
        return load_spec(path)

    return write


ADAN = """\
optimizer: [adamw, pytorch_optimizer.Adan]
schedule: constant
parameters:
  weight_decay: {values: [0, 0.1]}
  pytorch_optimizer.Adan:
    parameters:
      lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-2}
      beta3: 0.95
      weight_decouple: true
"""


def test_its_parameters_are_those_of_the_file_and_the_constructors_defaults(load: Load) -> None:
    space = load(ADAN).space
    mine = {k.label: k for k in space.knobs if k.owner.which == "pytorch_optimizer.Adan"}
    assert {label for label, knob in mine.items() if knob.searched} == {
        "pytorch_optimizer.Adan.lr",
        "pytorch_optimizer.Adan.weight_decay",
    }
    sampled = {
        "optimizer": "pytorch_optimizer.Adan",
        "pytorch_optimizer.Adan.lr": 5e-4,
        "pytorch_optimizer.Adan.weight_decay": 0.1,
        "warmup_fraction": 0.0,
    }
    config = space.config(sampled, epochs=3, batch_size=8)
    assert config.optimizer == "pytorch_optimizer.Adan"
    assert config.hypers["lr"] == 5e-4
    assert (config.hypers["beta1"], config.hypers["beta3"]) == (0.98, 0.95)
    assert config.switches == {"weight_decouple": True}
    code = python_code(config, Objective("valid/loss", maximize=False))
    assert code.splitlines()[0] == (
        "optimizer = pytorch_optimizer.Adan(model.parameters(), lr=0.0005, "
        "betas=(0.98, 0.92, 0.95), weight_decay=0.1, weight_decouple=True)"
    )
    again = load(ADAN + yaml_text(config)).baseline_config(epochs=1, batch_size=1)
    assert again is not None
    assert (again.hypers, again.switches) == (config.hypers, config.switches)


NEEDY = """
import torch
class Mine(torch.optim.SGD):
    def __init__(self, params, lr, kind="plain", third=None, betas=(0.9, 0.99), **rest):
        super().__init__(params, lr=lr)
"""


def test_arguments_of_which_the_constructor_says_nothing(load: Load, tmp_path: Path) -> None:
    """A required one, a text, a None: what the file gives is passed on."""
    (tmp_path / "needy.py").write_text(NEEDY)
    text = (
        "optimizer: needy.Mine\nschedule: constant\nparameters:\n"
        "  lr: {distribution: log_uniform_values, min: 1.0e-3, max: 1.0e-1}\n"
        "  kind: {values: [plain, fancy]}\n  third: 0.5\n"
    )
    spec = load(text)
    config = spec.space.config(
        {"lr": 0.01, "kind": "fancy", "warmup_fraction": 0.0}, epochs=1, batch_size=1
    )
    assert config.hypers == {"lr": 0.01, "third": 0.5, "beta1": 0.9, "beta2": 0.99}
    assert config.switches == {"kind": "fancy"}
    assert python_code(config, Objective("valid/loss", maximize=False)) == (
        "optimizer = needy.Mine(model.parameters(), lr=0.01, third=0.5, kind='fancy')"
    )
    baseline = spec.baseline_config(epochs=1, batch_size=1)
    assert baseline is not None
    assert (baseline.hypers["third"], baseline.switches) == (0.5, {"kind": "plain"})
    again = load(text + yaml_text(config)).baseline_config(epochs=1, batch_size=1)
    assert again is not None
    assert (again.hypers, again.switches) == (config.hypers, config.switches)


def test_a_class_beside_the_sweep_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text(
        "import torch\n"
        "class Mine(torch.optim.SGD):\n"
        "    def __init__(self, params, lr=0.5, sharp=False, k=3):\n"
        "        super().__init__(params, lr=lr)\n"
    )
    spec = load("optimizer: beside_it.Mine\n")
    config = spec.baseline_config(epochs=1, batch_size=1)
    assert config is not None
    assert config.hypers == {"lr": 0.5, "k": 3}
    assert config.switches == {"sharp": False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "optimizer: broken.Mine\n",
            "2: optimizer 'broken.Mine': broken.Mine cannot be imported: division by zero",
        ),
        ("optimizer: ..\n", "2: optimizer '..': .. is not a module's name, a dot and a class's"),
        (
            "optimizer: needy.Mine\n",
            "2: optimizer needy.Mine needs 'lr', which has no default; give it: "
            "parameters: {needy.Mine: {parameters: {lr: ...}}}",
        ),
        (
            "optimizer: adamw\nparameters:\n  lr_x_wd: {min: 1e-6, max: 1e-3}\n"
            "  decay: {values: [decoupled, l2]}\n",
            "4: parameters.lr_x_wd needs decoupled weight decay, and adamw's is L2; give it to the "
            "decoupled optimizers only, or set decay: decoupled",
        ),
        (
            "optimizer: pytorch_optimizer.Adam2\n",
            "2: optimizer 'pytorch_optimizer.Adam2': pytorch_optimizer.Adam2 cannot be imported: "
            "module 'pytorch_optimizer' has no attribute 'Adam2'",
        ),
        (
            "optimizer: no_such_package.Adam\n",
            "2: optimizer 'no_such_package.Adam': no_such_package.Adam cannot be imported: "
            "No module named 'no_such_package'",
        ),
        (
            "optimizer: os.path\n",
            "2: optimizer 'os.path': os.path is not a subclass of torch.optim.Optimizer",
        ),
        (
            "optimizer: torch.optim.Adagrad\ndecay: decoupled\n",
            "3: decay: decoupled is not for torch.optim.Adagrad, whose weight decay is its own; "
            "leave decay out, or torch.optim.Adagrad",
        ),
        (
            "optimizer: torch.optim.SGD\nparameters: {torch.optim.SGD: {parameters: {lrr: 1}}}\n",
            "3: parameters.torch.optim.SGD.parameters.lrr: torch.optim.SGD has no parameter 'lrr'; "
            "did you mean 'lr'? It has: lr, momentum, dampening, weight_decay, nesterov",
        ),
        (
            "optimizer: sgd\ndecay: l2\nparameters: {decay: {values: [l2, decoupled]}}\n",
            "4: parameters.decay stands in the place of decay (line 3); keep one",
        ),
        (
            "optimizer: sgd\nparameters: {cautious: maybe}\n",
            "3: parameters.cautious: maybe is not a value of cautious. Known: false, true",
        ),
    ],
)
def test_what_is_refused(load: Load, tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needy.py").write_text(NEEDY)
    with pytest.raises(SpecError) as caught:
        load(text)
    assert [line.partition("sweep.yaml:")[2] for line in str(caught.value).splitlines()] == [
        expected
    ]


def test_common_switches_are_knobs_of_every_optimizer(load: Load) -> None:
    spec = load(
        "optimizer: [lion, sgd]\nschedule: constant\nparameters:\n"
        "  cautious: {values: [false, true]}\n  centralize: true\n"
        "  sgd: {parameters: {decay: {values: [l2, independent]}}}\n"
        "enqueue: [{optimizer: lion, cautious: true}, {optimizer: sgd, decay: independent}]\n"
    )
    labels = {knob.label: knob for knob in spec.space.knobs}
    assert labels["lion.cautious"].searched
    assert not labels["lion.centralize"].searched
    assert labels["sgd.decay"].searched
    lion, sgd = spec.enqueue_configs(epochs=1, batch_size=1)
    assert lion.switches == {"cautious": True}
    assert sgd.switches == {"nesterov": False, "decay": "independent"}


def test_independent_decay_has_the_range_of_lr_times_decoupled_decay(load: Load) -> None:
    flat = load("optimizer: adamw\nschedule: constant\ndecay: independent\n").space.flat()
    law = flat["weight_decay"]
    assert (law.low, law.high) == pytest.approx((5e-3 * 1e-3, 1.0 * 1e-3))
    spec = load("enqueue: [{decay: independent}, {decay: decoupled}]\n")
    known = spec.enqueue_configs(epochs=1, batch_size=1)
    assert [config.hypers["weight_decay"] for config in known] == [pytest.approx(1e-5), 1e-2]


def test_a_schedule_that_cycles_momentum_needs_one(load: Load) -> None:
    """Where some schedule leaves momentum alone, a grid has plain SGD's default, which is 0."""
    load("optimizer: [sgd, adamw, adagrad]\nschedule: one_cycle\n")
    with pytest.raises(SpecError) as caught:
        load(
            "optimizer: sgd\nschedule: [one_cycle, cosine]\nmethod: grid\n"
            "enqueue: [{schedule: cyclic}, {schedule: cyclic, momentum: 0.5}]\n"
        )
    lines = [line.partition("sweep.yaml:")[2] for line in str(caught.value).splitlines()]
    remedy = "give sgd a momentum above 0, or leave {} or sgd out"
    assert lines == [
        "3: schedule: one_cycle cycles momentum, and sgd's may be 0 here; "
        + remedy.format("one_cycle"),
        "5: enqueue[0]: cyclic cycles momentum, and sgd's may be 0 here; "
        + remedy.format("cyclic"),
    ]


def test_momentum_that_the_schedules_set_is_not_searched(load: Load) -> None:
    text = "optimizer: [sgd, adamw, schedule_free_sgd]\nschedule: [one_cycle, cyclic]\n"
    knobs = {knob.label: knob for knob in load(text).space.knobs}
    assert not knobs["sgd.momentum"].searched
    assert knobs["sgd.momentum"].value({}) == 0.95
    assert not knobs["adamw.beta1"].searched
    assert knobs["adamw.beta2"].searched
    assert knobs["schedule_free_sgd.momentum"].searched
    with pytest.raises(SpecError, match="one_cycle sets momentum at every step; give base_mome"):
        load("optimizer: sgd\nschedule: one_cycle\nparameters: {momentum: {values: [0.1, 0.9]}}\n")


@pytest.mark.parametrize(
    ("optimizer", "decay", "low", "high"),
    [
        ("lion", "l2", 1e-6, 1e-2),  # Adam's: as decoupled decay its own range goes to 2.5
        ("radam", "decoupled", 5e-3, 1.0),  # AdamW's
        ("asgd", "decoupled", 5e-3 / 50, 1.0 / 50),  # its lr goes 50 times as high
        ("prodigy", "independent", 5e-6, 1e-3),  # its lr of 1 is a factor on a rate that it finds
    ],
)
def test_the_range_of_another_kind_of_decay(
    load: Load, optimizer: str, decay: str, low: float, high: float
) -> None:
    law = load(f"optimizer: {optimizer}\nschedule: constant\ndecay: {decay}\n").space.flat()
    assert (law["weight_decay"].low, law["weight_decay"].high) == pytest.approx((low, high))
