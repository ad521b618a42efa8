"""`Stepper`: the steps of a stack through an epoch, by its program where its step can be traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, groupby

from torch import Tensor

from optimizers.lane_tables import Tables
from sweeps.engines.lanes.batches import Gather, Parts, in_parts
from sweeps.engines.lanes.program import Feeding, Program, trace
from sweeps.engines.lanes.programs import Programs
from sweeps.engines.lanes.stack import Stack
from sweeps.tasks.data import Split
from sweeps.tasks.task import Task

Step = tuple[Tensor, dict[str, Tensor], Tensor | None]
"""Losses [K], metrics [K] and the gradient [K, P], which is None where the update is made."""


class Stepper:
    """Takes the steps of `stack` on a task's training data; `key` says which task it is."""

    def __init__(
        self, stack: Stack, task: Task, train: Split, batch_size: int, programs: Programs, key: str
    ) -> None:
        self._stack, self._task, self._train = stack, task, train
        self._batch_size, self._programs, self._key = batch_size, programs, key

    def epoch(self, seeds: Sequence[int], tables: Tables | None, *, traced: bool) -> Iterator[Step]:
        """Take an epoch's steps, the lanes' batches in the order of their seeds.

        A program makes the updates of `tables`, and counts them at the end. Where the step is not
        to be `traced`, or cannot be, the model is called each time.
        """
        gather, parts = in_parts(self._train, self._batch_size, seeds)
        first = next(parts)
        parts = chain([first], parts)
        if not traced or self._program(gather, first, tables) is None:
            yield from self._called(gather, parts)
            return
        feeding, step = Feeding(self._stack, tables), 0
        # A loader's last batch may be smaller: another program.
        for _, alike in groupby(parts, key=lambda each: each[0].shape):
            head = next(alike)
            program = self._program(gather, head, tables)
            if program is None:
                raise RuntimeError("a step on a smaller batch cannot be traced")
            self._programs.prepare(program, feeding(step, head))
            began = self._programs.clock()
            for each in chain([head], alike):
                yield program(feeding(step, each))
                step += 1
            program.seconds += self._programs.clock() - began
        if tables is not None:
            tables.count()

    def _program(self, gather: Gather, parts: Parts, tables: Tables | None) -> Program | None:
        task, stack = self._task, self._stack
        shapes = tuple(part.shape for part in parts)
        formulas = tables.formulas if tables else ()
        return self._programs.get(
            (self._key, stack.lanes, formulas, shapes),
            lambda: trace(stack, task.loss, task.metrics, gather, tables, parts),
        )

    def _called(self, gather: Gather, parts: Iterator[Parts]) -> Iterator[Step]:
        """Take the steps by calling the model each time."""
        task, stack = self._task, self._stack
        for each in parts:
            inputs, target = gather(*each)
            grad, output, losses = stack.train(inputs, target, task.loss)
            yield losses, stack.judge(output, target, task.metrics, apart=True), grad
