"""One call as it goes: what happened, what it is charged, what its client is told."""
