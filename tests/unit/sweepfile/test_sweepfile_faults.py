"""Wrong task files: every fault at once, with its line, what is allowed and the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optimizers import RULES
from optimizers.names import closest, lookup
from studies.errors import UserError
from sweeps.spec import SpecError, load_spec
from sweeps.spec.faults import nearest

CASES: dict[str, tuple[str, list[str]]] = {
    "unknown names everywhere": (
        """\
task: digits-mlp
optimizer: [adamv, sgd]
shedule: cosine
schedule: [cosin]
method: tpee
metric: {name: accuracy, goal: minimise, tak: best}
precision: fp16
""",
        [
            "2: optimizer 'adamv' is unknown; did you mean 'adamw'? Known: sgd, sgdw, adam, adamw",
            "3: key 'shedule' is unknown; did you mean 'schedule'? Known: name, description, task,"
            " task_args, method, metric, optimizer, schedule, average, decay, epochs, batch_size,"
            " baseline, enqueue, early_terminate, budget, seed, repeats, device, lanes, precision,"
            " compile, workers, storage, tracking, parameters, run_cap",
            "4: schedule 'cosin' is unknown; did you mean 'cosine'? Known: constant, step,"
            " exponential, cosine, plateau",
            "5: method 'tpee' is unknown; did you mean 'tpe'? Known: tpe, random, grid, gp, cmaes,"
            " qmc, bayes",
            "6: metric.name is 'accuracy'; give a curve: valid/loss, valid/accuracy, train/loss,"
            " ...",
            "6: metric.goal 'minimise' is unknown; did you mean 'minimize'? Known: minimize,"
            " maximize",
            "6: key 'metric.tak' is unknown; did you mean 'take'? Known: name, goal, target, take",
            "7: precision 'fp16' is unknown; did you mean 'bf16'? Known: float32, float64, bf16",
        ],
    ),
    "distributions": (
        """\
task: digits-mlp
optimizer: [sgd, adam]
parameters:
  lr: {distribution: log_uniform_values, min: 0, max: 0.1}
  beta1: {min: 0.9, max: 0.8}
  beta2: {values: [0.9, 0.99], probabilities: [1.0]}
  weight_decay: {values: [0, 0.1], probabilities: [0.5, 0.4]}
  momentum: {distribution: one_minus_log_uniform, min: 0.5, max: 1}
  dampening: {distribution: log_unifrm, min: 1}
  eps: {mn: 0.1, max: 0.2}
  final_factor: [0.1, 0.2]
  warmup_fraction:
  hidden: {distribution: int_uniform, min: 1.5, max: 3}
  depth: {distribution: q_uniform, min: "1", max: 3, q: 0}
  nesterov: {values: [true, 1]}
""",
        [
            "4: parameters.lr.min must be above 0 for log_uniform_values; 0 was given",
            "5: parameters.beta1: min 0.9 is greater than max 0.8",
            "6: parameters.beta2.probabilities has 1 numbers for 2 values; give one for each",
            "7: parameters.weight_decay.probabilities sum to 0.9; they must sum to 1",
            "8: parameters.momentum.max must be below 1 for one_minus_log_uniform; 1 was given",
            "9: distribution 'log_unifrm' is unknown; did you mean 'log_uniform'? Known: constant,"
            " categorical, categorical_w_probabilities, uniform, int_uniform, q_uniform,"
            " log_uniform_values, q_log_uniform_values, inv_log_uniform_values, log_uniform,"
            " q_log_uniform, inv_log_uniform, normal, q_normal, log_normal, q_log_normal, beta,"
            " q_beta, one_minus_log_uniform",
            "10: parameters.eps (uniform): key 'mn' is unknown; did you mean 'min'? Known:"
            " distribution, min, max",
            "10: parameters.eps (uniform): min is missing",
            "11: parameters.final_factor is a list; write {values: [...]} to search it",
            "12: parameters.warmup_fraction has no value",
            "13: parameters.hidden.min is 1.5; int_uniform takes whole numbers; q_uniform or"
            " uniform others",
            "14: parameters.depth.min is the text '1'; write a number, without quotes or unit",
            "15: parameters.nesterov.values has 1 twice",
        ],
    ),
    "values outside of what a knob can be": (
        """\
task: digits-mlp
optimizer: adam
schedule: plateau
parameters:
  beta1: 1.0
  lr: -0.1
  beta2: "0.9"
  patience: {min: 1.5, max: 3.5}
  epochs: {min: 0, max: 10}
  batch_size: [16, 32.5]
""",
        [
            "5: parameters.beta1: beta1 = 1.0 is invalid; it must lie in [0, 1)",
            "6: parameters.lr: lr = -0.1 is invalid; it must lie in [0, inf)",
            "7: parameters.beta2: beta2 takes numbers, not '0.9'",
            "8: parameters.patience: patience = 1.5 is invalid; it must be a whole number",
            "9: parameters.epochs takes whole numbers of 1 or more, not [0, 10] whole numbers",
            "10: parameters.batch_size takes whole numbers of 1 or more, not {16, 32.5}",
        ],
    ),
    "names of nobody, or of others": (
        """\
task: digits-mlp
parameters:
  momentm: 0.9
  momentum: 0.9
  hiden: 12
  seed: 3
  n_trials: 5
  sgd: {parameters: {lr: 0.1}}
  adamw: {parameters: {momentum: 0.1}}
  hidden: {parameters: {x: 1}}
""",
        [
            "3: parameter 'momentm' belongs to nobody. Known: the task's arguments: hidden, depth;"
            " knobs: lr, beta1, beta2, eps, weight_decay, lr_x_wd, final_factor, warmup_fraction",
            "4: parameters.momentum belongs to sgd, sgdw, and this sweep uses adamw, cosine",
            "5: parameter 'hiden' belongs to nobody; did you mean 'hidden'? Known: the task's"
            " arguments: hidden, depth; knobs: lr, beta1, beta2, eps, weight_decay, lr_x_wd,"
            " final_factor, warmup_fraction",
            "6: parameters.seed: seed is a key of the file's top level; put it there",
            "7: 'n_trials' is Optuna's and Hydra's key; here it is run_cap (= budget.trials)",
            "8: sgd is not among the sweep's optimizers and schedules (adamw, cosine), so it has"
            " no parameters",
            "9: parameters.adamw.parameters.momentum: adamw has no parameter 'momentum'. It has:"
            " lr, beta1, beta2, eps, weight_decay, lr_x_wd",
            "10: parameters.hidden has parameters of its own, which only optimizers and schedules"
            " have",
        ],
    ),
    "given twice": (
        """\
task: digits-mlp
optimizer: adamw
epochs: 3
task_args: {hidden: 3}
run_cap: 5
budget: {trials: 6}
parameters:
  optimizer: {values: [adamw, sgd]}
  lr: 0.1
  learning_rate: 0.2
  epochs: 4
  hidden: 4
epochs: 5
""",
        [
            "4: 'hidden' is given twice: in task_args and as parameters.hidden (line 12); keep one",
            "5: run_cap is 5 and budget.trials (line 6) is 6; they mean the same, keep one",
            "8: optimizer is given twice: at the top level (line 2) and as parameters.optimizer;"
            " keep one",
            "10: parameters.learning_rate and parameters.lr (line 9) are one knob; keep one",
            "11: epochs is given twice: at the top level (line 3) and as parameters.epochs; keep"
            " one",
            "13: the key 'epochs' is there twice: first in line 3",
        ],
    ),
    "the product of learning rate and weight decay": (
        """\
task: digits-mlp
optimizer: [adamw, sgd]
schedule: step
parameters:
  lr_x_wd: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}
  lr: {min: 0.0, max: 1.0}
  adamw:
    parameters:
      weight_decay: 0.1
  step_fraction: 0.5
  step_epochs: 3
""",
        [
            "5: parameters.lr_x_wd stands in the place of parameters.adamw.parameters.weight_decay"
            " (line 9); keep one",
            "5: parameters.lr_x_wd needs decoupled weight decay, and sgd's is L2; give it to the"
            " decoupled optimizers only, or set decay: decoupled",
            "6: parameters.lr must be above 0 beside lr_x_wd",
            "11: parameters.step_epochs stands in the place of parameters.step_fraction (line 10);"
            " keep one",
        ],
    ),
    "a grid over something continuous": (
        """\
task: digits-mlp
method: grid
optimizer: sgd
parameters:
  lr: {min: 0.1, max: 0.2}
  momentum: {values: [0.8, 0.9], probabilities: [0.5, 0.5]}
  weight_decay: {values: [0, 0.1]}
""",
        [
            "5: parameters.lr is [0.1, 0.2], which a grid cannot run through; give values,"
            " int_uniform or q_uniform, or another method",
        ],
    ),
    "a switch that another knob rules out": (
        "task: digits-mlp\nmethod: grid\noptimizer: sgd\nparameters: {nesterov: true}\n",
        [
            "4: parameters.nesterov: nesterov = True needs momentum in (0, inf) and dampening = 0,"
            " got momentum = 0.0 and dampening = 0.0"
        ],
    ),
    "budgets and counts": (
        """\
task: digits-mlp
run_cap: 0
budget: {time: 30, gpu_hours: -1, trial_time: 5 parsecs, failures: 0, n_trials: 3}
seed: -1
repeats: 0
epochs: 1.5
batch_size: "32"
""",
        [
            "2: run_cap is 0; give a whole number of 1 or more",
            "3: budget.time is 30; give a time with its unit: 90s, 30m, 4h or 2d",
            "3: budget.gpu_hours is -1; give a number above 0",
            "3: budget.trial_time is '5 parsecs'; give a time with its unit: 90s, 30m, 4h or 2d",
            "3: budget.failures is 0; give a whole number of 1 or more",
            "3: 'n_trials' is Optuna's and Hydra's key; here it is run_cap (= budget.trials)",
            "4: seed is -1; give a whole number of 0 or more",
            "5: repeats is 0; give a whole number of 1 or more",
            "6: epochs is 1.5; give a whole number of 1 or more",
            "7: batch_size is '32'; give a whole number of 1 or more",
        ],
    ),
    "keys of other tools": (
        """\
task: digits-mlp
maxTrialCount: 3
parallelTrialCount: 2
num_samples: 4
n_trials: 3
max_total_trials: 7
max_concurrent_trials: 2
lr: 0.1
""",
        [
            "2: 'maxTrialCount' is Katib's key; here it is run_cap (= budget.trials)",
            "3: 'parallelTrialCount' is Katib's key; here it is lanes (trials trained together) and"
            " workers (processes)",
            "4: 'num_samples' is Ray's key; here it is run_cap (= budget.trials)",
            "5: 'n_trials' is Optuna's and Hydra's key; here it is run_cap (= budget.trials)",
            "6: 'max_total_trials' is Azure's key; here it is run_cap (= budget.trials)",
            "7: 'max_concurrent_trials' is Ray's and Azure's key; here it is lanes (trials trained"
            " together) and workers (processes)",
            "8: 'lr' is a knob, not a key of the top level; put it under parameters",
        ],
    ),
    "what this version does not do yet": (
        """\
task: digits-mlp
method: nsga2
metric: [{name: valid/loss}, {name: valid/accuracy}]
average: [swa, em]
decay: independent
lanes: 4
workers: 2
compile: true
compare: optimizer
""",
        [
            "2: method nsga2 is not there yet in this version. There is: tpe, random, grid, gp,"
            " cmaes, qmc, bayes",
            "3: metric is a list; several objectives are not there yet in this version: give one"
            " {name, goal}",
            "4: average swa is not there yet in this version. There is: none",
            "4: average 'em' is unknown. Known: none",
            "5: decay independent is not there yet in this version. There is: l2, decoupled",
            "6: lanes is 4; this version runs one trial at a time: give auto or 1",
            "7: workers is 2; this version runs one worker at a time: give auto or 1",
            "8: compile is true; compiled steps are not there yet: give auto or false",
            "9: compare: fair races are not there yet in this version",
        ],
    ),
    "early_terminate": (
        """\
task: digits-mlp
early_terminate:
  type: median
  eta: 3
  min_epochs: 0
  patiense: 3
""",
        [
            "4: early_terminate.eta means nothing to median; it reads min_epochs, startup_trials",
            "5: early_terminate.min_epochs is 0; give auto or a whole number of 1 or more",
            "6: key 'early_terminate.patiense' is unknown; did you mean 'patience'? Known: type,"
            " min_epochs, eta, startup_trials, percentile, patience, min_iter, max_iter, s, strict",
        ],
    ),
    "hyperband as W&B has it": (
        """\
task: digits-mlp
early_terminate: {type: hyperband, min_iter: 3, max_iter: 27, eta: 1, strict: yes}
""",
        [
            "2: early_terminate has min_iter and max_iter; give one",
            "2: early_terminate.max_iter needs s, the number of brackets counted back from it",
            "2: early_terminate.eta is 1; give a number above 1",
            "2: early_terminate.strict is 'yes'; give true or false",
        ],
    ),
    "an unknown pruner by its bare name": (
        "task: digits-mlp\nearly_terminate: medain\n",
        [
            "2: early_terminate.type 'medain' is unknown; did you mean 'median'? Known: asha,"
            " hyperband, median, percentile, patience, none"
        ],
    ),
    "asha takes whole etas, and a type is needed": (
        "task: digits-mlp\nearly_terminate: {eta: 2.5}\n",
        [
            "2: early_terminate.type is missing; give one of asha, hyperband, median, percentile,"
            " patience, none"
        ],
    ),
    "known configurations": (
        """\
task: digits-mlp
baseline: {optimiser: adamw, lr: 0.1, momentum: 0.9}
enqueue:
  - {optimizer: sgdx}
  - {lr: high}
  - {beta1: 1.5, epochs: 0}
  - {optimizer: sgd, nesterov: maybe, schedule: step, gama: 0.1}
""",
        [
            "2: baseline (adamw, constant): name 'optimiser' is unknown; did you mean 'optimizer'?"
            " Known: optimizer, schedule, average, lr, beta1, beta2, eps, weight_decay,"
            " decay, warmup_fraction, epochs, batch_size, hidden, depth",
            "2: baseline (adamw, constant): name 'momentum' is unknown. Known: optimizer,"
            " schedule, average, lr, beta1, beta2, eps, weight_decay, decay, warmup_fraction,"
            " epochs, batch_size, hidden, depth",
            "4: enqueue[0]: optimizer 'sgdx' is unknown; did you mean 'sgdw'? Known: sgd, sgdw,"
            " adam, adamw",
            "5: enqueue[1].lr: lr takes numbers, not 'high'",
            "6: enqueue[2].beta1: beta1 = 1.5 is invalid; it must lie in [0, 1)",
            "6: enqueue[2].epochs: give a whole number, not 0",
            "7: enqueue[3].nesterov: 'maybe' is not a value of nesterov. Known: false, true",
            "7: enqueue[3] (sgd, step): name 'gama' is unknown; did you mean 'gamma'? Known:"
            " optimizer, schedule, average, lr, momentum, dampening, weight_decay, nesterov,"
            " decay, step_fraction, gamma, warmup_fraction, step_epochs, epochs, batch_size,"
            " hidden, depth",
        ],
    ),
    "known configurations, two names for one thing and values that do not go together": (
        """\
task: digits-mlp
baseline: {optimizer: sgd, momentum: 0, nesterov: true}
enqueue:
  - {learning_rate: 0.1, lr: 0.2}
  - {adamw.lr: 0.1, adamw.learning_rate: 0.2}
  - {schedule: step, step_epochs: 3, step.step_fraction: 0.5}
  - {average: swa, decay: independent}
  - {sgd.lr: 0.1, task.hiden: 3, decay: l1}
  - {optimizer: sgd, nesterov: true, momentum: 0.9, dampening: 0.1}
""",
        [
            "2: baseline: nesterov = True needs momentum in (0, inf) and dampening = 0, got"
            " momentum = 0 and dampening = 0.0",
            "4: enqueue[0].lr and enqueue[0].learning_rate (line 4) are one knob; keep one",
            "5: enqueue[1].adamw.learning_rate and enqueue[1].adamw.lr (line 5) are one knob; keep"
            " one",
            "6: enqueue[2].step_epochs stands in the place of enqueue[2].step.step_fraction (line"
            " 6); keep one",
            "7: enqueue[3]: average swa is not there yet in this version. There is: none",
            "7: enqueue[3].decay: decay independent is not there yet in this version. There is:"
            " l2, decoupled",
            "8: enqueue[4] (adamw, constant): name 'sgd.lr' is unknown. Known: optimizer, schedule,"
            " average, lr, beta1, beta2, eps, weight_decay, decay, warmup_fraction, epochs,"
            " batch_size, hidden, depth",
            "8: enqueue[4] (adamw, constant): name 'task.hiden' is unknown; did you mean"
            " 'hidden'? Known: optimizer, schedule, average, lr, beta1, beta2, eps, weight_decay,"
            " decay, warmup_fraction, epochs, batch_size, hidden, depth",
            "8: enqueue[4].decay: decay 'l1' is unknown. Known: l2, decoupled",
            "9: enqueue[5]: nesterov = True needs momentum in (0, inf) and dampening = 0, got"
            " momentum = 0.9 and dampening = 0.1",
        ],
    ),
    "a misspelled optimizer is read as the nearest": (
        """\
task: digits-mlp
optimizer: admw
parameters:
  lr_x_wd: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}
  beta1: 0.9
  momentum: 0.9
baseline: {beta1: 0.8, lr: -1}
enqueue: [{optimizer: adamv, beta1: 1.5}]
""",
        [
            "2: optimizer 'admw' is unknown; did you mean 'adamw'? Known: sgd, sgdw, adam, adamw",
            "7: baseline.lr: lr = -1 is invalid; it must lie in [0, inf)",
            "8: enqueue[0]: optimizer 'adamv' is unknown; did you mean 'adamw'? Known: sgd, sgdw,"
            " adam, adamw",
            "8: enqueue[0].beta1: beta1 = 1.5 is invalid; it must lie in [0, 1)",
        ],
    ),
    "an optimizer and a schedule that could be any are no reason for more faults": (
        """\
task: digits-mlp
method: grid
optimizer: [zzz, sgd]
schedule: qqq
parameters:
  lr_x_wd: {values: [1e-6, 1e-2]}
  beta1: 0.9
  step_epochs: 3
  adam: {parameters: {lr: 0.1}}
  hiden: 3
baseline: {beta1: 0.8}
enqueue: [{schedule: nope, gamma: 3}, {optimizer: [sgd], lr: 3}]
""",
        [
            "3: optimizer 'zzz' is unknown. Known: sgd, sgdw, adam, adamw",
            "4: schedule 'qqq' is unknown. Known: constant, step, exponential, cosine, plateau",
            "10: parameter 'hiden' belongs to nobody; did you mean 'hidden'? Known: the task's"
            " arguments: hidden, depth; knobs: ",
            "12: enqueue[0]: schedule 'nope' is unknown. Known: constant, step, exponential,"
            " cosine, plateau",
            '12: enqueue[1]: optimizer ["sgd"] is unknown. Known: sgd, sgdw, adam, adamw',
        ],
    ),
    "keys without a value, known ones (absent) and others": (
        """\
task: digits-mlp
optimiser:
n_trials: ~
seed:
compare:
program: ~
run_cap:
parameters:
""",
        [
            "2: key 'optimiser' is unknown; did you mean 'optimizer'? Known: name, description,"
            " task, task_args, method, metric, optimizer, schedule, average, decay, epochs,"
            " batch_size, baseline, enqueue, early_terminate, budget, seed, repeats, device, lanes,"
            " precision, compile, workers, storage, tracking, parameters, run_cap",
            "3: 'n_trials' is Optuna's and Hydra's key; here it is run_cap (= budget.trials)",
        ],
    ),
    "numbers that are text, and a q that leaves one value": (
        """\
task: digits-mlp
epochs: 1_000
seed: 0b11
metric: valid/loss
parameters:
  lr: {distribution: q_log_uniform_values, min: 1e-4, max: 0.1}
  beta1: {distribution: q_beta, a: 2, b: 2, q: 3}
  weight_decay: {distribution: q_normal, mu: 0, sigma: 0.01, q: 0.5}
  hidden: {distribution: int_uniform, min: 1, max: 3.0}
""",
        [
            "2: epochs is '1_000'; give a whole number of 1 or more",
            "3: seed is '0b11'; give a whole number of 0 or more",
            "4: metric is 'valid/loss'; give {name: valid/loss, goal: minimize} (or maximize)",
            "6: parameters.lr: q is 1 where it is absent, and q_log_uniform_values rounds every"
            " value to a multiple of q: all become 0; give a smaller q, or log_uniform_values",
            "7: parameters.beta1: q is 3, and q_beta rounds every value to a multiple of q: all"
            " become 0; give a smaller q, or beta",
            "8: parameters.weight_decay: q is 0.5, and q_normal rounds every value to a multiple of"
            " q: all become 0; give a smaller q, or normal",
            "9: parameters.hidden.max is 3.0; int_uniform takes whole numbers; q_uniform or"
            " uniform others",
        ],
    ),
    "a weighted switch that another knob rules out": (
        """\
task: digits-mlp
optimizer: sgd
parameters: {momentum: 0, nesterov: {values: [true, false], probabilities: [0.1, 0.9]}}
""",
        [
            "3: parameters.nesterov: nesterov = True needs momentum in (0, inf) and dampening = 0,"
            " got momentum = 0 and dampening = 0.0"
        ],
    ),
    "what could not be read has one fault": (
        """\
task: !mine digits-mlp
parameters: {lr: !!python/tuple [1, 2], epochs: !x 3}
metric: {name: !y valid/loss}
""",
        [
            "1: the tag !mine is not allowed: write plain values",
            "2: the tag !!python/tuple is not allowed: write plain values",
            "2: the tag !x is not allowed: write plain values",
            "3: the tag !y is not allowed: write plain values",
        ],
    ),
    "a password in what is refused": (
        "task: digits-mlp\nstorage: ['postgresql://u:top/secret@h/d']\n",
        ['2: storage is ["postgresql://u:***@h/d"]; give text'],
    ),
    "wrong types": (
        """\
task: [digits-mlp]
name: 3
task_args: 4
parameters: [lr]
baseline: 3
enqueue: {lr: 1}
budget: 5
optimizer: []
schedule: [step, step]
storage: 5
device: gpu
""",
        [
            '1: task is ["digits-mlp"]; give text',
            "2: name is 3; give text",
            "3: task_args is 4; give a mapping",
            "4: parameters must be a mapping of names to what they may be",
            "5: baseline is 3; give a mapping of names to values, or false",
            "6: enqueue is a mapping (lr); give a list",
            "7: budget is 5; give a mapping",
            "8: optimizer is an empty list; give one name or more",
            "9: schedule has 'step' twice",
            "10: storage is 5; give text",
            "11: device is 'gpu'; give auto, cpu, cuda or cuda:N",
        ],
    ),
    "neither task nor program": (
        "method: random\nseeds: 3\n",
        [
            "1: task is missing: a built-in name, package.module:factory or file.py:factory (or"
            " program, for a script: not there yet in this version)",
            "2: key 'seeds' is unknown; did you mean 'seed'? Known: name, description, task,"
            " task_args, method, metric, optimizer, schedule, average, decay, epochs, batch_size,"
            " baseline, enqueue, early_terminate, budget, seed, repeats, device, lanes, precision,"
            " compile, workers, storage, tracking, parameters, run_cap",
        ],
    ),
    "both task and program": (
        "task: digits-mlp\nprogram: train.py\nseed: x\n",
        [
            "2: program and task (line 1) are both given; a sweep file has one of them",
            "3: seed is 'x'; give a whole number of 0 or more",
        ],
    ),
    "a program file": (
        "program: train.py\nproject: mine\nparameters: {lr: {min: 0.1, max: 0.2}}\n",
        ["1: program: sweeps of scripts are not there yet in this version; give a task"],
    ),
    "a syntax error": (
        "task: digits-mlp\nparameters: {lr: [1\n",
        [
            "3: this is not YAML: while parsing a flow sequence expected ',' or ']', but got"
            " '<stream end>'"
        ],
    ),
    "tags and doubled keys beside other faults": (
        "task: digits-mlp\nseed: !!python/name:os.system\nmethod: tpee\nmethod: tpe\n",
        [
            "2: the tag !!python/name:os.system is not allowed: write plain values",
            "3: method 'tpee' is unknown; did you mean 'tpe'? Known: tpe, random, grid, gp, cmaes,"
            " qmc, bayes",
            "4: the key 'method' is there twice: first in line 3",
        ],
    ),
    "not a mapping": (
        "- task: digits-mlp\n",
        ['1: a sweep file is a mapping of keys to values, not [{"task": "digits-mlp"}]'],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_fault_is_listed_in_line_order(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, expected = CASES[case]
    Path("sweep.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec("sweep.yaml")
    assert str(caught.value).splitlines() == [f"sweep.yaml:{line}" for line in expected]
    assert caught.value.exit_code == 2


def test_an_unknown_task_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("task: digit-mlp\nparameters: {lr: {min: 2, max: 1}, whatever: 3, gama: 3}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    [task, lr] = str(caught.value).splitlines()
    assert task.startswith(f"{path}:1: task 'digit-mlp' is unknown; did you mean 'digits-mlp'?")
    assert lr == f"{path}:2: parameters.lr: min 2 is greater than max 1"


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("adamv", ("adam", "adamw"), "adamw"),  # as long, so a letter mistaken
        ("adamv", ("adamw", "adam"), "adamw"),
        ("sgdx", tuple(RULES), "sgdw"),
        ("admw", tuple(RULES), "adamw"),
        ("addam", tuple(RULES), "adam"),
        ("AdamW", tuple(RULES), "adamw"),
        ("batch-sise", ("batch_size",), "batch_size"),
        ("lr2", ("lr1", "lr3"), "lr1"),  # nothing between them: the first
        ("beta3", ("zeta3x", "eta3", "beta1"), "beta1"),  # one amiss; as long as
        ("momentum", ("lr",), None),
    ],
)
def test_the_nearest_name_is_the_same_for_files_and_registries(
    name: str, known: tuple[str, ...], near: str | None
) -> None:
    assert closest(name, known) == near
    hint = f"; did you mean '{near}'?" if near else ""
    assert nearest(name, known) == hint
    with pytest.raises(ValueError, match=re.escape(hint or "is unknown. Known")):
        lookup(dict.fromkeys(known, 0), "thing", name)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value) == f"{path}: the file is empty; `sweeps init` writes one to start from"


def test_a_file_that_cannot_be_read_is_the_users_mistake(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(UserError, match=r"missing\.yaml: cannot be read: No such file"):
        load_spec(missing)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"task: digits-mlp\nname: caf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml: is not UTF-8 text \(byte 26\)"):
        load_spec(latin)


def test_an_override_is_checked_like_a_key_but_has_no_line(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("task: digits-mlp\nseed: 1\nrepeats: 0\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path, {"seed": -2})
    assert str(caught.value).splitlines() == [
        f"{path}: seed is -2; give a whole number of 0 or more",
        f"{path}:3: repeats is 0; give a whole number of 1 or more",
    ]


FACTORIES = """\
import sys

def strict(width, depth=2):
    raise AssertionError("a factory is not called to read a sweep file")

def free(**anything):
    raise AssertionError

def _hidden():
    pass

from os.path import join
not_a_function = 3
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "task: mine.py:strict\n",
            ["1: task 'mine.py:strict' needs the argument 'width': give it in task_args"],
        ),
        (
            "task: mine.py:strict\ntask_args: {widht: 3}\n",
            [
                "1: task 'mine.py:strict' needs the argument 'width': give it in task_args; did you"
                " mean 'widht'?",
                "2: task 'mine.py:strict': argument 'widht' is unknown; did you mean 'width'?"
                " Known: width, depth",
            ],
        ),
        (
            "task: mine.py:strikt\n",
            [
                "1: task 'mine.py:strikt': mine.py has no 'strikt'; did you mean 'strict'? Its"
                " functions: strict, free"
            ],
        ),
        (
            "task: digits-mpl\n",
            [
                "1: task 'digits-mpl' is unknown; did you mean 'digits-mlp'? Built in: digits-cnn,"
                " digits-mlp, exp-curve, iris-mlp. Your own: 'package.module:factory' or"
                " 'path/to/file.py:factory'"
            ],
        ),
        (
            "task: broken.py:factory\nseed: -1\n",
            [
                "1: task 'broken.py:factory' cannot be imported: ModuleNotFoundError: No module"
                " named 'torchy' ({folder}/broken.py, line 2)",
                "2: seed is -1; give a whole number of 0 or more",
            ],
        ),
    ],
)
def test_a_users_own_task_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FACTORIES)
    Path("broken.py").write_text("x = 1\nimport torchy\n")
    Path("sweep.yaml").write_text(lines)
    with pytest.raises(SpecError) as caught:
        load_spec("sweep.yaml")
    shown = [line.replace("{folder}", str(tmp_path)) for line in expected]
    assert str(caught.value).splitlines() == [f"sweep.yaml:{line}" for line in shown]


def test_a_factory_of_any_arguments_takes_any_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORIES)
    path = tmp_path / "sweep.yaml"
    path.write_text("task: mine.py:free\nparameters: {whatever: {values: [1, 2]}}\n")
    assert "whatever" in load_spec(path).space.flat()


def test_a_name_of_task_and_optimizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clash.py").write_text("def factory(lr=1):\n    pass\n")
    path = tmp_path / "sweep.yaml"
    path.write_text("task: clash.py:factory\nparameters: {lr: 0.1}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value) == (
        f"{path}:2: parameters.lr is both adamw's and an argument of the task; nest it (adamw: "
        "{parameters: ...}), and set the task's in task_args"
    )
