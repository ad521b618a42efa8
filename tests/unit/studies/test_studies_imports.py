"""What `import studies` loads, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import studies

HEAVY = """
import sys
from studies import UserError
assert not {"sqlalchemy", "optuna"} & set(sys.modules), "UserError needs no database"
import studies
for name in studies.__all__:
    getattr(studies, name)
heavy = {"torch", "mlflow", "alembic", "scipy", "pandas", "sklearn", "psycopg"} & set(sys.modules)
assert not heavy, heavy
"""


def test_every_public_name_loads_without_the_heavy_packages() -> None:
    subprocess.run([sys.executable, "-c", HEAVY], check=True)


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name in studies.__all__ if not getattr(studies, name).__doc__] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'open_store'"):
        studies.open_store  # noqa: B018
