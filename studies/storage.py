"""The study DB as an Optuna storage, with writes of many trials in one transaction.

Single calls go to Optuna's own `RDBStorage`, held inside and never subclassed:
`optuna.create_study` would wrap a subclass in a cache of its own. Batch calls go to the same tables
through SQLAlchemy Core (`studies.batches`), and reads of trials too (`studies.mirror`). Each layer
has its own engine.

    with open_storage("sqlite:///sweeps.db") as storage:
        study = optuna.create_study(storage=storage)
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from optuna.storages import BaseStorage

from studies import batches, setup
from studies.database import check_file, make_engine, parse_url, shown
from studies.fences import Fence
from studies.mirror import Mirror
from studies.retrying import retried

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import StudyDirection
    from optuna.study._frozen import FrozenStudy
    from optuna.trial import FrozenTrial, TrialState


def open_storage(url: str, *, create: bool = True) -> StudyStorage:
    """Opens the study DB at `url`; creates its tables, or brings them up to date, when needed.

    Safe when several processes open a fresh database at once. An up-to-date one costs one SELECT.

    Args:
        url: `sqlite:///sweeps.db` or `postgresql+psycopg://user:password@host/database`.
        create: whether a database without studies may be given the tables; otherwise it is an
            error, and nothing is created.

    Raises:
        UserError: the URL, its driver, the server, the login, the file or its folder, or a
            database of a newer Sweeplane or Optuna. No message holds a password.
    """
    with ExitStack() as stack:
        storage = StudyStorage(url, create=create)
        stack.callback(storage.close)
        setup.prepare(storage.url, storage.engine, create=create)
        stack.pop_all()
    return storage


def check_storage(url: str) -> None:
    """Refuses a URL that `open_storage` could not create a study DB at, as far as that shows
    without connecting; creates nothing.

    Raises:
        UserError: the URL, its driver, the file or its folder.
    """
    check_file(parse_url(url), create=True)


class StudyStorage(BaseStorage):
    """An Optuna storage on Optuna's tables, with ours beside them; made by `open_storage`.

    `engine` is for our tables and for batch calls; on SQLite, a transaction that writes takes
    `database.writing(engine)`.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        self.url = parse_url(url)
        check_file(self.url, create=create)
        self.engine = make_engine(self.url, limits=True)
        self._mirror = Mirror(self.engine)
        self._optuna: setup.Inner | None = None
        self._lock = threading.Lock()
        # `optuna.create_study(storage=open_storage(url))` never closes what it was given.
        self._closers = ExitStack()
        self._closers.callback(self.engine.dispose)
        self._finalizer = weakref.finalize(self, self._closers.close)

    @property
    def inner(self) -> BaseStorage:
        """Optuna's own storage, made when first needed: it imports Alembic (0.36 s)."""
        return self._inner().storage

    def _inner(self) -> setup.Inner:
        with self._lock:
            if self._optuna is None:
                self._optuna = setup.open_inner(self.url)
                self._closers.callback(self._optuna.close)
            return self._optuna

    def _write(self) -> setup.Inner:
        """For `with`: Optuna's transactions in it take SQLite's write lock as they begin."""
        return self._inner()

    def close(self) -> None:
        """Closes every connection; garbage collection does it too."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return open_storage, (self.url.render_as_string(hide_password=False),)

    def __repr__(self) -> str:
        return f"StudyStorage({shown(self.url)!r})"

    def __str__(self) -> str:
        return shown(self.url)

    # Many trials at once, one transaction each.

    def report(self, points: Sequence[batches.Report], fence: Fence | None = None) -> set[int]:
        """Writes evaluations; returns the ids refused (`batches.report`)."""
        return batches.report(self.engine, points, fence)

    def draw(self, drawn: Sequence[batches.Drawn], fence: Fence | None = None) -> set[int]:
        """Writes what was sampled; returns the ids refused (`batches.draw`)."""
        return batches.draw(self.engine, drawn, fence)

    def finish(self, outcomes: Sequence[batches.Finish], fence: Fence | None = None) -> set[int]:
        """Ends trials; returns the ids refused (`batches.finish`)."""
        return batches.finish(self.engine, outcomes, fence)

    def set_system_attrs(
        self, attrs: Mapping[int, Mapping[str, Any]], fence: Fence | None = None
    ) -> set[int]:
        """Sets system attributes of trials by id; returns the ids refused."""
        drawn = [batches.Drawn(trial_id, {}, {}, given) for trial_id, given in attrs.items()]
        return batches.draw(self.engine, drawn, fence)

    def hand_back(
        self,
        study_id: int,
        trial_ids: Collection[int],
        fence: Fence | None = None,
    ) -> list[int]:
        """RUNNING trials become WAITING; returns their numbers (`batches.hand_back`)."""
        return batches.hand_back(self.engine, study_id, trial_ids, fence)

    # Optuna's interface, as `optuna.storages.BaseStorage` documents it.

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        with self._write() as inner:
            return inner.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        with self._write() as inner:
            inner.delete_study(study_id)
        self._mirror.forget(study_id)

    @retried
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._write() as inner:
            inner.set_study_user_attr(study_id, key, value)

    @retried
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._write() as inner:
            inner.set_study_system_attr(study_id, key, value)

    @retried
    def get_study_id_from_name(self, study_name: str) -> int:
        return self.inner.get_study_id_from_name(study_name)

    @retried
    def get_study_name_from_id(self, study_id: int) -> str:
        return self.inner.get_study_name_from_id(study_id)

    @retried
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self.inner.get_study_directions(study_id)

    @retried
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self.inner.get_study_user_attrs(study_id)

    @retried
    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self.inner.get_study_system_attrs(study_id)

    @retried
    def get_all_studies(self) -> list[FrozenStudy]:
        return self.inner.get_all_studies()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._write() as inner:
            return inner.create_new_trial(study_id, template_trial)

    @retried
    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        with self._write() as inner:
            inner.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        with self._write() as inner:
            return inner.set_trial_state_values(trial_id, state, values)

    @retried
    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        with self._write() as inner:
            inner.set_trial_intermediate_value(trial_id, step, intermediate_value)

    @retried
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._write() as inner:
            inner.set_trial_user_attr(trial_id, key, value)

    @retried
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._write() as inner:
            inner.set_trial_system_attr(trial_id, key, value)

    @retried
    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self.inner.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._mirror.trial(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        trials = self._mirror.trials(study_id)
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def glance(self, study_id: int, again: Collection[int]) -> list[FrozenTrial]:
        """Every trial, by number: not to be changed; less work than `get_all_trials`.

        Of trials that are as open as at the last look, only those whose ids are in `again` are up
        to date. New ones and those that have started or ended since are.
        """
        return self._mirror.trials(study_id, again)

    def remove_session(self) -> None:
        self._inner().remove_session()
