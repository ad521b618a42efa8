"""When failures end a sweep: too many of them, or several in a row with one cause.

    one worker    its last FAILURES_IN_A_ROW trials failed with one cause: it ends
    the study     so did the last ones of all its workers: every worker ends

What ended a study stands in it as the reason of its `stop`, which every worker repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from studies import SweeplaneError, break_loop

if TYPE_CHECKING:
    from studies import Ended, StudyStorage

FAILURES_IN_A_ROW = 5


class Breaker:
    """Ends a worker of the study `name` when trials fail; `most` is budget.failures."""

    def __init__(self, storage: StudyStorage, study_id: int, name: str, most: int) -> None:
        self._storage, self._study_id, self._name = storage, study_id, name
        self._most = most
        self._causes: list[str] = []  # of this worker's failures in a row
        self._failed = False

    def refuse_more(self, failed: int) -> None:
        """End when budget.failures is met by so many failed trials of the study.

        Raises:
            SweeplaneError: it is.
        """
        if failed >= self._most:
            raise SweeplaneError(
                f"{failed} trials of study '{self._name}' have failed, and budget.failures is "
                f"{self._most}. Mend the cause, raise budget.failures in the sweep file, and run "
                "it again"
            )

    def saw(self, outcome: str, cause: str | None) -> None:
        """Note how a trial of this worker has ended."""
        if outcome == "failed":
            self._causes.append(cause or "")
            self._failed = True
        else:
            self._causes.clear()

    def check(self) -> None:
        """End when trials failed in a row with one cause since this was last asked.

        Raises:
            SweeplaneError: they did.
        """
        if not self._failed:
            return
        self._failed = False
        order = break_loop(self._storage, self._study_id, FAILURES_IN_A_ROW, self._study_words)
        if order.reason is not None:
            raise SweeplaneError(order.reason)
        last = self._causes[-FAILURES_IN_A_ROW:]
        if len(last) == FAILURES_IN_A_ROW and len(set(last)) == 1:
            raise SweeplaneError(
                f"{FAILURES_IN_A_ROW} trials in a row failed in this worker with one cause, though "
                f"not in others: {last[0]}. Mend what is wrong with this machine and start it again"
            )

    def _study_words(self, last: Sequence[Ended]) -> str | None:
        causes = {each.reason for each in last}
        failed = [each.number for each in last if each.state == TrialState.FAIL]
        if len(failed) < FAILURES_IN_A_ROW or len(causes) > 1:
            return None
        numbers = ", ".join(map(str, sorted(failed)))
        return (
            f"{FAILURES_IN_A_ROW} trials in a row failed with one cause: {last[0].reason}. These "
            f"were trials {numbers}; `sweeps show {quote(self._name)} {failed[0]}` prints a "
            "traceback. Mend it, then go on: sweeps run FILE. Failed trials hold no place of "
            "budget.trials, only of budget.failures"
        )
