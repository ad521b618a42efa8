"""Lookahead over SGD and AdamW (`lookahead_sgd`, `lookahead_adamw`)."""

from __future__ import annotations

from optimizers.lookahead import lookahead
from optimizers.rules.adam import ADAMW
from optimizers.rules.sgd import SGD

LOOKAHEAD_SGD = lookahead(SGD, name="lookahead_sgd", class_name="LookaheadSGD")
LOOKAHEAD_ADAMW = lookahead(ADAMW, name="lookahead_adamw", class_name="LookaheadAdamW")
