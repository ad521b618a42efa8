"""Passwords in URLs, taken out of whatever is printed or stored."""

from __future__ import annotations

import re

# `user:` up to the last @ of the line: a password that was not percent-encoded may hold @ : / or a
# space. Rather too much is hidden than too little.
_USERINFO = re.compile(r"(://[^/?#@:\s]*):[^\n]*@")
_QUERY = re.compile(r"(password=)[^&\s\"']*", re.IGNORECASE)


def mask_passwords(text: str) -> str:
    """Return `text`, a URL or anything with URLs in it, with every password as `***`."""
    return _QUERY.sub(r"\1***", _USERINFO.sub(r"\1:***@", text))
