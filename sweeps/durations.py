"""Times as people write them: `90s`, `30m`, `4h`, `2d`, or several of them (`1h30m`)."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float | None:
    """Return the seconds; None where the text is no time, or none above zero."""
    text = text.replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in parts)
    whole = "".join(amount + unit for amount, unit in parts) == text
    return seconds if whole and seconds > 0 else None
