"""The registry of algorithms. To add one: a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from optimizers.rule import Rule
from optimizers.rules.adabelief import ADABELIEF
from optimizers.rules.adadelta import ADADELTA
from optimizers.rules.adafactor import ADAFACTOR
from optimizers.rules.adagrad import ADAGRAD
from optimizers.rules.adam import ADAM, ADAMW
from optimizers.rules.adamax import ADAMAX
from optimizers.rules.ademamix import ADEMAMIX
from optimizers.rules.adopt import ADOPT
from optimizers.rules.asgd import ASGD
from optimizers.rules.lamb import LAMB
from optimizers.rules.lars import LARS
from optimizers.rules.lion import LION
from optimizers.rules.lookahead import LOOKAHEAD_ADAMW, LOOKAHEAD_SGD
from optimizers.rules.muon import MUON
from optimizers.rules.nadam import NADAM, NADAMW
from optimizers.rules.prodigy import PRODIGY
from optimizers.rules.radam import RADAM
from optimizers.rules.ranger import RANGER
from optimizers.rules.rmsprop import RMSPROP
from optimizers.rules.rprop import RPROP
from optimizers.rules.schedule_free import SCHEDULE_FREE_ADAMW, SCHEDULE_FREE_SGD
from optimizers.rules.sgd import SGD, SGDW
from optimizers.rules.signum import SIGNUM
from optimizers.rules.soap import SOAP
from optimizers.rules.yellowfin import YELLOWFIN

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        SGD,
        SGDW,
        ADAM,
        ADAMW,
        ADAGRAD,
        ADADELTA,
        RMSPROP,
        NADAM,
        NADAMW,
        ADAMAX,
        RPROP,
        ASGD,
        RADAM,
        ADAFACTOR,
        YELLOWFIN,
        PRODIGY,
        SCHEDULE_FREE_SGD,
        SCHEDULE_FREE_ADAMW,
        MUON,
        SOAP,
        LION,
        SIGNUM,
        LAMB,
        LARS,
        ADABELIEF,
        ADOPT,
        ADEMAMIX,
        LOOKAHEAD_SGD,
        LOOKAHEAD_ADAMW,
        RANGER,
    )
}
"""Every algorithm by name."""
