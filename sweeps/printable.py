"""Text of users as it can stand in a line of a terminal, a table or a message."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return the text with line breaks and control characters as escapes: `\n`, `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
