"""How long a worker may be silent; without imports, for whoever only says so."""

LEASE_SECONDS = 15.0
BEATS_PER_LEASE = 3
