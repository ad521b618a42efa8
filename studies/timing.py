"""How long a worker may be silent, and take to end; without imports, for whoever only says so."""

LEASE_SECONDS = 15.0
GRACE_SECONDS = 8.0  # after a signal: `docker stop` kills after 10
BEATS_PER_LEASE = 3
