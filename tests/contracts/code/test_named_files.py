"""Documents that examples, docstrings and Markdown name are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PLACES = ("*.md", "*.yml", "docs/**/*.md", "examples/**/*", "sweeps/**/*.py", "studies/**/*.py")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
NAMED = re.compile(r"(?<![\w/.-])docs/[\w/.-]+\.md")


def test_every_document_that_is_named_exists() -> None:
    files = {
        f
        for place in PLACES
        for f in ROOT.glob(place)
        if f.suffix in (".md", ".py", ".yaml", ".yml")
    }
    missing, seen = [], 0
    for file in sorted(files):
        text = file.read_text(encoding="utf-8")
        links = LINK.findall(text) if file.suffix == ".md" else []
        named = [file.parent / link for link in links] + [ROOT / n for n in NAMED.findall(text)]
        seen += len(named)
        missing += [f"{file.relative_to(ROOT)}: {path}" for path in named if not path.exists()]
    assert seen > 10
    assert not missing
