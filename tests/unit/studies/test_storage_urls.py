"""Storage URLs that cannot be opened say why, without their password."""

from __future__ import annotations

import pytest

import studies
from studies.database import engine_options, parse_url, shown
from studies.errors import UserError


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "cannot be read"),
        ("sweeps.db", "'sweeps.db' cannot be read. Write sqlite:///sweeps.db or postgresql"),
        ("postgresql://me:s3cr3t@host:port/db", "'postgresql://me:***@host:port/db' cannot be"),
        ("postgresql://me:s3cr@et:x/y@host/db", "percent-encode"),
        ("postgres://me:s3cr3t@host/db", "Did you mean 'postgresql+psycopg'?"),
        ("postgresql+asyncpg://me:s3cr3t@host/db", "'postgresql+asyncpg' is unknown"),
        ("mysql://me:s3cr3t@host/db", "'mysql' is unknown. Write sqlite"),
        ("nosql://me@host/db?password=s3cr3t", "'nosql' is unknown"),
        (
            "postgresql+psycopg2://me:s3cr3t@host/db",
            "Write postgresql+psycopg:// and run pip install 'sweeplane[postgres]'.",
        ),
    ],
)
def test_a_url_that_is_refused(url: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_url(url)
    assert says in str(refused.value)
    assert "s3cr" not in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:a.db?uri=true"])
def test_a_study_is_not_kept_in_memory(url: str) -> None:
    with pytest.raises(UserError, match="must outlive its process"):
        studies.open_storage(url)


def test_a_url_is_shown_without_any_password() -> None:
    url = parse_url("postgresql+psycopg://me:s3cr3t%40@host:5433/db?password=other&sslmode=require")
    assert shown(url) == "postgresql+psycopg://me:***@host:5433/db?password=***&sslmode=require"
    assert shown(parse_url("sqlite:///a/b.db")) == "sqlite:///a/b.db"


def test_what_the_url_sets_wins() -> None:
    base = "postgresql+psycopg://me@host/db"
    given = engine_options(parse_url(base))
    assert (given["connect_args"]["connect_timeout"], "options" in given["connect_args"]) == (
        2,
        False,
    )
    own = engine_options(parse_url(f"{base}?connect_timeout=9&keepalives_idle=60"))
    assert not {"connect_timeout", "keepalives_idle"} & own["connect_args"].keys()
    options = engine_options(parse_url("sqlite:///a.db?timeout=1.5"))
    assert options["connect_args"]["timeout"] == 1.5
