"""Optuna's own sampler suites on ours, each study of theirs in one of our study DBs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from studies import StudyStorage, open_storage
from sweeps.sampling import make_sampler
from sweeps.space import Space

EMPTY = Space((), ("sgd",), ("constant",))  # each test brings its own dimensions


@pytest.fixture(autouse=True)
def study_db(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StudyStorage]:
    """A study that is created without a storage is in a fresh study DB; a branch's is in memory."""
    make = optuna.study.create_study
    with open_storage(f"sqlite:///{tmp_path}/sweeps.db") as storage:

        def create(**arguments: object) -> optuna.Study:
            return make(**{"storage": storage, **arguments})

        monkeypatch.setattr(optuna.study, "create_study", create)
        yield storage


def factory(method: str) -> Callable[[], BaseSampler]:
    return lambda: make_sampler(method, EMPTY, 0)


class TestTpe(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return factory("tpe")


class TestRandom(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return factory("random")


class TestQmc(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return factory("qmc")


class TestGp(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return factory("gp")


class TestCmaEs(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return factory("cmaes")
