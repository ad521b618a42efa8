"""Wrong entries of `parameters`: text -> the faults, as `line: message`."""

from __future__ import annotations

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
            "2: optimizer 'adamv' is unknown; did you mean 'adamw'? Known: <optimizers>",
            "3: key 'shedule' is unknown; did you mean 'schedule'? Known: name, description, task,"
            " task_args, method, metric, optimizer, schedule, average, decay, epochs, batch_size,"
            " baseline, enqueue, early_terminate, budget, seed, repeats, device, lanes, precision,"
            " compile, workers, storage, tracking, parameters, run_cap",
            "4: schedule 'cosin' is unknown; did you mean 'cosine'? Known: <schedules>",
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
  swa: {parameters: {start: 0.8}}
  swa_lr: 0.5
""",
        [
            "3: parameter 'momentm' belongs to nobody. Known: the task's arguments: hidden, depth;"
            " knobs: lr, beta1, beta2, eps, weight_decay, amsgrad, decay, cautious, centralize,"
            " lr_x_wd, final_factor, warmup_fraction",
            "4: parameters.momentum belongs to <optimizers with momentum>, and this sweep uses"
            " adamw, cosine",
            "5: parameter 'hiden' belongs to nobody; did you mean 'hidden'? Known: the task's"
            " arguments: hidden, depth; knobs: lr, beta1, beta2, eps, weight_decay, amsgrad,"
            " decay, cautious, centralize, lr_x_wd, final_factor, warmup_fraction",
            "6: parameters.seed: seed is a key of the file's top level; put it there",
            "7: 'n_trials' is Optuna's and Hydra's key; here it is run_cap (= budget.trials)",
            "8: sgd is not among the sweep's optimizers, schedules and averages (adamw, cosine), so"
            " it has no parameters",
            "9: parameters.adamw.parameters.momentum: adamw has no parameter 'momentum'. It has:"
            " lr, beta1, beta2, eps, weight_decay, amsgrad, decay, cautious, centralize, lr_x_wd",
            "10: parameters.hidden has parameters of its own, which only optimizers, schedules and"
            " averages have",
            "11: swa is not among the sweep's optimizers, schedules and averages (adamw, cosine),"
            " so it has no parameters",
            "12: parameters.swa_lr belongs to swa, and this sweep uses adamw, cosine",
        ],
    ),
    "names of averages": (
        """\
task: digits-mlp
average: [none, swa, ema]
parameters:
  start: 0.8
  decay: 0.99
  swa: {parameters: {start: 1, freqency: 2, frequency: 1.5}}
  ema: {parameters: {decay: {distribution: one_minus_log_uniform, min: 0.9, max: 0.99}}}
  ema_warmup: {parameters: {decay: 0.9}}
  none: {parameters: {x: 1}}
""",
        [
            "4: parameters.start belongs to swa, ema; an average's are nested: swa: {parameters:"
            " {start: ...}}",
            "5: parameters.decay: 0.99 is not a value of decay. Known: l2, decoupled, independent",
            "6: parameters.swa.parameters.start: start = 1 is invalid; it must lie in [0, 1)",
            "6: parameters.swa.parameters.frequency: frequency = 1.5 is invalid; it must be a whole"
            " number",
            "6: parameters.swa.parameters.freqency: swa has no parameter 'freqency'; did you mean"
            " 'frequency'? It has: start, swa_lr, anneal, frequency",
            "8: ema_warmup is not among the sweep's optimizers, schedules and averages (adamw,"
            " cosine, swa, ema), so it has no parameters",
            "9: parameters.none has parameters of its own, which only optimizers, schedules and"
            " averages have",
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
}
