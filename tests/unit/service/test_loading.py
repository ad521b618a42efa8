"""Imports that the garbage collector does not look through."""

from __future__ import annotations

import gc
import importlib
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.loading import importing


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


class Node:
    """One of a cycle."""

    def __init__(self) -> None:
        self.other: Node | None = None


def cycle() -> weakref.ref[Node]:
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


def test_what_is_there_after_it_is_left_alone_and_what_comes_later_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new_to_this_process.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with importing():
        assert not gc.isenabled()
        early = cycle()
        importlib.import_module("new_to_this_process")
    assert gc.isenabled()
    late = cycle()
    gc.collect()
    assert early() is not None
    assert late() is None


def test_what_is_there_is_collected_where_all_was_imported_before() -> None:
    early = cycle()
    with importing():
        import gc as known  # noqa: F401
    gc.collect()
    assert early() is None


def test_the_collector_is_on_again_after_an_import_that_failed() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import no_such_module_here  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off() -> None:
    gc.disable()
    with importing(), importing():
        pass
    assert not gc.isenabled()
