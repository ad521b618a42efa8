"""Names that may have meant another, values of wrong types, broken YAML: text -> the faults."""

from __future__ import annotations

CASES: dict[str, tuple[str, list[str]]] = {
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
            "2: optimizer 'admw' is unknown; did you mean 'adamw'? Known: <optimizers>",
            "7: baseline.lr: lr = -1 is invalid; it must lie in [0, inf)",
            "8: enqueue[0]: optimizer 'adamv' is unknown; did you mean 'adamw'? Known:"
            " <optimizers>",
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
            "3: optimizer 'zzz' is unknown. Known: <optimizers>",
            "4: schedule 'qqq' is unknown. Known: <schedules>",
            "10: parameter 'hiden' belongs to nobody; did you mean 'hidden'? Known: the task's"
            " arguments: hidden, depth; knobs: ",
            "12: enqueue[0]: schedule 'nope' is unknown. Known: <schedules>",
            '12: enqueue[1]: optimizer ["sgd"] is unknown. Known: <optimizers>',
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
            "3: seed is '0b11'; give a whole number from 0 to 2147483647",
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
            " program, for a script)",
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
            "3: seed is 'x'; give a whole number from 0 to 2147483647",
        ],
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
