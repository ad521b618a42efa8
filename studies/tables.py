"""Optuna's own tables, as SQLAlchemy Core sees them.

`optuna.storages._rdb.models` is private to Optuna; this module is the only one that reads it,
and `tests/contracts/studies` pins what is read here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optuna.storages._rdb import models

if TYPE_CHECKING:
    from sqlalchemy import Table

studies: Table = models.StudyModel.__table__
directions: Table = models.StudyDirectionModel.__table__
trials: Table = models.TrialModel.__table__
params: Table = models.TrialParamModel.__table__
values: Table = models.TrialValueModel.__table__
intermediates: Table = models.TrialIntermediateValueModel.__table__
user_attrs: Table = models.TrialUserAttributeModel.__table__
system_attrs: Table = models.TrialSystemAttributeModel.__table__

ValueType = models.TrialValueModel.TrialValueType
stored_value = models.TrialValueModel.value_to_stored_repr
stored_intermediate = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
read_intermediate = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value


def now() -> datetime:
    """The time as Optuna's columns hold it: naive UTC, by this process's clock."""
    return datetime.now(UTC).replace(tzinfo=None)
