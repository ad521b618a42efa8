"""`Programs`: the traced steps of an engine, and when one of them is worth compiling."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from sweeps.engines.lanes.program import Program
from sweeps.engines.lanes.saying import in_a_line

# Measured on one CPU thread: tracing a small model's step takes 0.1 s.
_TRACING_SECONDS = 0.1
# Measured on one CPU thread by benchmarks/lanes.py: compiling takes 3 to 20 s, and a compiled step
# half of the time of a traced one or less.
_COMPILATION_SECONDS = 8.0
_SAVED = 0.5


class Programs:
    """Keeps each program while the engine runs: a group that comes again finds its own.

    `compiling` is "auto", True or False. `left` gives, of the seconds that steps have taken so far
    by `clock`, an estimate of those that are left.
    """

    def __init__(
        self,
        compiling: bool | str,
        left: Callable[[float], float],
        say: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._compiling, self._left, self._say, self.clock = compiling, left, say, clock
        self._made: dict[Hashable, Program | None] = {}
        self._cost = _COMPILATION_SECONDS  # of a compilation, as the last one had it
        self.aside = 0.0
        """Seconds of the wall clock that went to tracing and compiling, which is no trial's."""
        self.seconds_to_trace = _TRACING_SECONDS
        """That the last step took to be traced."""

    @property
    def undecided(self) -> bool:
        """Is there a program of which it is time to find out whether compiling pays?"""
        made = [each for each in self._made.values() if each is not None]
        return self._compiling == "auto" and any(map(self._has_run_long, made))

    def get(self, key: Hashable, make: Callable[[], Program]) -> Program | None:
        """Return the program of this key; None where its step cannot be traced."""
        if key not in self._made:
            before = self.aside
            try:
                with self._set_aside():
                    self._made[key] = make()
                self.seconds_to_trace = self.aside - before
            except Exception as error:  # what a model does may be anything
                self._say(f"steps are not traced: {in_a_line(error)}")
                self._made[key] = None
        return self._made[key]

    def prepare(self, program: Program, taken: Sequence[Tensor]) -> None:
        """Compile a program, where that pays."""
        if program.compiled or self._compiling is False:
            return
        if self._compiling == "auto" and not self._pays(program):
            return
        before = self.aside
        try:
            with self._set_aside():
                program.compile(taken)
        except Exception as error:  # no compiler here, or one that fails
            self._say(f"steps are not compiled: {in_a_line(error)}")
            self._compiling = False
        else:
            self._cost = self.aside - before

    @contextmanager
    def _set_aside(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.aside += time.perf_counter() - began

    def _has_run_long(self, program: Program) -> bool:
        return not program.compiled and program.seconds > self._cost / 2

    def _pays(self, program: Program) -> bool:
        """Has it taken so long that compiling costs little more, and is enough left?"""
        if not self._has_run_long(program):
            return False
        spent = sum(made.seconds for made in self._made.values() if made is not None)
        return self._left(spent) * _SAVED > self._cost
