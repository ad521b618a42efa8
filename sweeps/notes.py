"""What engines have found out about a sweep's models, kept in the study for all workers."""

from __future__ import annotations

from typing import Any

from studies import StudyStorage

_PREFIX = "sweeplane:found:"


class StudyNotes:
    """Notes in a study's system attributes; see `sweeps.engines.base.Notes`."""

    def __init__(self, storage: StudyStorage, study_id: int) -> None:
        self._storage, self._study_id = storage, study_id

    def get(self, key: str) -> Any:
        return self._storage.get_study_system_attrs(self._study_id).get(_PREFIX + key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._storage.set_study_system_attr(self._study_id, _PREFIX + key, value)
