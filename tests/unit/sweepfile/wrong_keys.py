"""Wrong top-level keys, pruners and known configurations: text -> the faults."""

from __future__ import annotations

CASES: dict[str, tuple[str, list[str]]] = {
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
            "4: seed is -1; give a whole number from 0 to 2147483647",
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
swa_lr: 0.1
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
            "9: 'swa_lr' is a knob, not a key of the top level; put it under parameters",
        ],
    ),
    "what this version does not do yet": (
        """\
task: digits-mlp
method: nsga2
metric: [{name: valid/loss}, {name: valid/accuracy}]
average: [swa, em]
decay: l1
lanes: 0
workers: 0
compile: sometimes
compare: optimizer
""",
        [
            "2: method nsga2 is not there yet in this version. There is: tpe, random, grid, gp,"
            " cmaes, qmc, bayes",
            "3: metric is a list; several objectives are not there yet in this version: give one"
            " {name, goal}",
            "4: average 'em' is unknown; did you mean 'ema'? Known: <averages>",
            "5: decay 'l1' is unknown. Known: l2, decoupled, independent",
            "6: lanes is 0; give auto or a whole number of 1 or more",
            "7: workers is 0; give auto or a whole number of 1 or more",
            "8: compile is 'sometimes'; give auto, true or false",
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
            " amsgrad, decay, cautious, centralize, warmup_fraction, epochs, batch_size, hidden,"
            " depth",
            "2: baseline (adamw, constant): name 'momentum' is unknown. Known: optimizer,"
            " schedule, average, lr, beta1, beta2, eps, weight_decay, amsgrad, decay,"
            " cautious, centralize, warmup_fraction, epochs, batch_size, hidden, depth",
            "4: enqueue[0]: optimizer 'sgdx' is unknown; did you mean 'sgdw'? Known: <optimizers>",
            "5: enqueue[1].lr: lr takes numbers, not 'high'",
            "6: enqueue[2].beta1: beta1 = 1.5 is invalid; it must lie in [0, 1)",
            "6: enqueue[2].epochs: give a whole number, not 0",
            "7: enqueue[3].nesterov: 'maybe' is not a value of nesterov. Known: false, true",
            "7: enqueue[3] (sgd, step): name 'gama' is unknown; did you mean 'gamma'? Known:"
            " optimizer, schedule, average, lr, momentum, dampening, weight_decay, nesterov,"
            " decay, cautious, centralize, step_fraction, gamma, warmup_fraction, step_epochs,"
            " epochs, batch_size,"
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
  - {average: swo, swa.start: 2}
  - {sgd.lr: 0.1, task.hiden: 3, decay: l1}
  - {optimizer: sgd, nesterov: true, momentum: 0.9, dampening: 0.1}
  - {average: ema, decay: 0.9, start: 0.1, ema.decay: 1}
""",
        [
            "2: baseline: nesterov = True needs momentum in (0, inf) and dampening = 0, got"
            " momentum = 0 and dampening = 0.0",
            "4: enqueue[0].lr and enqueue[0].learning_rate (line 4) are one knob; keep one",
            "5: enqueue[1].adamw.learning_rate and enqueue[1].adamw.lr (line 5) are one knob; keep"
            " one",
            "6: enqueue[2].step_epochs stands in the place of enqueue[2].step.step_fraction (line"
            " 6); keep one",
            "7: enqueue[3]: average 'swo' is unknown; did you mean 'swa'? Known: <averages>",
            "7: enqueue[3].swa.start: start = 2 is invalid; it must lie in [0, 1)",
            "8: enqueue[4] (adamw, constant): name 'sgd.lr' is unknown. Known: optimizer, schedule,"
            " average, lr, beta1, beta2, eps, weight_decay, amsgrad, decay, cautious, centralize,"
            " warmup_fraction, epochs, batch_size, hidden, depth",
            "8: enqueue[4] (adamw, constant): name 'task.hiden' is unknown; did you mean"
            " 'hidden'? Known: optimizer, schedule, average, lr, beta1, beta2, eps, weight_decay,"
            " amsgrad, decay, cautious, centralize, warmup_fraction, epochs, batch_size, hidden,"
            " depth",
            "8: enqueue[4].decay: 'l1' is not a value of decay. Known: l2, decoupled, independent",
            "9: enqueue[5]: nesterov = True needs momentum in (0, inf) and dampening = 0, got"
            " momentum = 0.9 and dampening = 0.1",
            "10: enqueue[6].decay: 0.9 is not a value of decay. Known: l2, decoupled, independent",
            "10: enqueue[6] (adamw, constant, ema): name 'start' is unknown; did you mean"
            " 'ema.start'? Known: optimizer, schedule, average, lr, beta1, beta2, eps,"
            " weight_decay, amsgrad, decay, cautious, centralize, warmup_fraction, ema.decay,"
            " ema.start, epochs, batch_size, hidden, depth",
            "10: enqueue[6].ema.decay: decay = 1 is invalid; it must lie in [0, 1)",
        ],
    ),
}
