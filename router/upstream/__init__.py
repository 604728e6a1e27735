"""Talks to workers, one protocol per file."""
