"""Numbers that JSON has no form for."""

from __future__ import annotations

from typing import Any


def safe(value: Any) -> Any:
    """Return `value` with every non-finite float as text, which any JSON parser reads."""
    if isinstance(value, float) and value - value != 0:
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, dict):
        return {key: safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [safe(item) for item in value]
    return value
