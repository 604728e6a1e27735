"""Which engine still has the beginning of a prompt."""
