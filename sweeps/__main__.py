"""`python -m sweeps` is the `sweeps` command."""

from __future__ import annotations

from sweeps.cli import main

if __name__ == "__main__":
    main(prog_name="sweeps")
