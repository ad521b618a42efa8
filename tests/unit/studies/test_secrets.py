"""No password survives in what is printed or stored."""

from __future__ import annotations

import pytest

from studies import mask_passwords


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://u:topsecret@host/db",
        "postgresql+psycopg://u:top@topsecret:x@host/db",
        "postgresql+psycopg://u:topsecret/x@host/db",
        "postgresql+psycopg://u:top secret topsecret@host/db",
        "postgresql+psycopg://host/db?user=u&password=topsecret",
        "http://me:topsecret@127.0.0.1:5000",
        "storage: postgresql+psycopg://u:topsecret@host/db\ntracking: none\n",
        "{storage: 'postgresql+psycopg://u:topsecret@host/db', note: a@b}",
    ],
)
def test_a_password_is_masked(text: str) -> None:
    masked = mask_passwords(text)
    assert "topsecret" not in masked
    assert "***" in masked


@pytest.mark.parametrize(
    "text",
    ["sqlite:///sweeps.db", "http://127.0.0.1:5000", "name: x\nmail: a@b.example\n", "1:2@3"],
)
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert mask_passwords(text) == text
