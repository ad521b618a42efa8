"""Wrong program files: text -> the faults."""

from __future__ import annotations

_LAUNCH = (
    "is a key of W&B Launch or of its custom schedulers, which are not here; give program or"
    " command, and a method"
)
_STORED = (
    "which would stand in the study DB and in what others see of it; set a variable in the"
    " environment of the workers:"
)
_WORDS = "give the words of a command: a list such as [python, train.py, '${args}']"
_TASKS = "is a key of task files, which train a model here;"
_MACROS = (
    "Known: ${env}, ${interpreter}, ${program}, ${args}, ${args_no_hyphens}, ${args_no_equals},"
    " ${args_append_hydra}, ${args_override_hydra}, ${args_no_boolean_flags}, ${args_json},"
    " ${args_json_file}, ${envvar:NAME}"
)

CASES: dict[str, tuple[str, list[str]]] = {
    "a program's keys": (
        """\
program: train.py
optimizer: adamw
repeats: 3
lanes: 4
image_uri: repo/image
queue: gpus
n_trials: 5
run_capp: 3
method: custom
metric: val_loss
command: python train.py
env: {A: yes}
trials_per_device: 0
working_directory: 3
seed: -1
parameters: {lr: {min: 0.1, max: 0.2}}
""",
        [
            f"2: optimizer {_TASKS} give it to the script: parameters: {{optimizer: ...}}",
            f"3: repeats {_TASKS} a script seeds itself: give it a seed under parameters",
            f"4: lanes {_TASKS} trials_per_device says how many trials run at once",
            f"5: image_uri {_LAUNCH}",
            f"6: queue {_LAUNCH}",
            "7: 'n_trials' is Optuna's and Hydra's key; here it is run_cap (= budget.trials)",
            "8: key 'run_capp' is unknown; did you mean 'run_cap'?",
            "9: method: custom is a search of W&B's own servers or of your code; give tpe, bayes,"
            " random, grid, cmaes or qmc",
            "10: metric is 'val_loss'; give {name: val_loss, goal: minimize} (or maximize)",
            f"11: command is 'python train.py'; {_WORDS}",
            "12: env.A is true; give text, in quotes",
            "13: trials_per_device is 0; give a whole number of 1 or more",
            "14: working_directory is 3; give text",
            "15: seed is -1; give a whole number from 0 to 2147483647",
        ],
    ),
    "a program's command, metric and names": (
        """\
command: ["${env}", python, "${program}", "${arg}", "a ${args} b", "${envvar:HOME}", 8, null]
metric: {goal: max, impute: worst}
early_terminate: {type: hyperband}
metrics_file: metrics.jsonl
env: {WANDB_API_KEY: abc}
parameters:
  a: {parameters: {b: {values: [3, 4]}}, value: 3}
  b: {parameters: {}}
  "new\\nline; rm -rf /": {min: 2, max: 1}
  "nul\\0": 3
  d: [1, 2]
  e: {values: ["\\0", x]}
  on: 3
""",
        [
            "1: command[2] is ${program}, and there is no program; give one",
            f"1: command[3]: the macro '${{arg}}' is unknown; did you mean 'args'? {_MACROS}",
            f"1: command has nothing; {_WORDS}",
            "2: metric.name is missing: what the script reports, such as val_loss",
            "2: metric.goal 'max' is unknown. Known: minimize, maximize",
            "3: early_terminate: nobody knows how often a script reports, so hyperband needs"
            " min_iter, or max_iter and s; asha needs neither",
            "4: metrics_file: trials that run at once, of any worker, would write into one file;"
            " put {trial} into its name",
            f"5: env.WANDB_API_KEY is a secret, {_STORED} every trial has that too",
            "7: parameters.a takes one key, parameters, with a mapping",
            "8: parameters.b takes one key, parameters, with a mapping",
            r"9: parameters.new\nline; rm -rf /: min 2 is greater than max 1",
            r"10: parameters has the name 'nul\x00'; give text without NUL, 400 characters at most"
            " with what is above it",
            "11: parameters.d is a list; write {values: [...]} to search it",
            "12: parameters.e has text with NUL or half a character in it",
            "13: the key 'on' is not text; put it in quotes",
        ],
    ),
    "a program's grid and known configurations": (
        """\
program: train.py
metric: {name: loss}
method: grid
early_terminate: {type: hyperband, max_iter: 27}
parameters:
  a.b: {values: [1, 2]}
  a: {parameters: {b: {values: [3, 4]}}}
  lr: {min: 0.1, max: 0.2}
baseline: {lr: 0.1, c: {x: 3}, a.b: 2, lrr: 2}
enqueue: [{a: {b: 1}}, 3]
""",
        [
            "4: early_terminate.max_iter needs s, the number of brackets counted back from it",
            "7: parameters.a.parameters.b and parameters.a.b are both 'a.b' in the study DB;"
            " rename one",
            "8: parameters.lr is [0.1, 0.2], which a grid cannot run through; give values,"
            " int_uniform or q_uniform, or another method",
            "9: baseline: the script has no parameter 'c'. It has: 'a.b', 'a.b', 'lr'",
            "9: baseline: the script has no parameter 'lrr'; did you mean 'lr'? It has: 'a.b',"
            " 'a.b', 'lr'",
            "9: baseline gives no value to 'a.b'; a script's parameters have no published defaults",
            "10: enqueue[1] is 3; give a mapping",
            "10: enqueue[0] gives no value to 'a.b', 'lr'; a script's parameters have no published"
            " defaults",
        ],
    ),
    "a program's passwords": (
        """\
program: train.py
metric: {name: loss}
command: [python, "${program}", --db, "postgresql://me:pw@host/x"]
env: {DB: "postgresql://me:pw@host/x"}
parameters:
  a: {values: [[1, {b: "http://me:pw@host"}], 2]}
  b: {min: 1, max: 2}
enqueue: [{a: "http://me:pw@host", b: 1}]
""",
        [
            f"3: command has a password in it, {_STORED} ${{envvar:NAME}} stands for it",
            f"4: env.DB is a secret, {_STORED} every trial has that too",
            "6: parameters.a has a password in it, which would be stored and shown; let the script"
            " read it from its environment",
            "8: enqueue[0]: the script has no parameter 'a'. It has: 'b'",
        ],
    ),
    "a program without parameters": (
        "program: train.py\n",
        [
            "1: metric is missing, which method tpe needs: what the script reports. metric:"
            " {name: val_loss, goal: minimize}",
            "1: parameters is missing: what the script takes, and what each may be",
        ],
    ),
    "a program with several objectives": (
        "program: train.py\nmetric: [{name: a}, {name: b}]\nparameters: []\n",
        [
            "2: metric is a list; several objectives are not there yet in this version: give one"
            " {name, goal}",
            "3: parameters must be a mapping of names to what they may be",
        ],
    ),
}
