"""One search by four commands: see `benchmarks.side_by_side.__main__`."""
