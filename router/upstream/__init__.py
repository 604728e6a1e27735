"""How workers are spoken to, one protocol a file."""
