"""What is said of errors that training goes on after."""

from __future__ import annotations


def in_a_line(error: Exception) -> str:
    """Return an error's type and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
