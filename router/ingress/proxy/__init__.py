"""Calls that somebody else answers: another router, or the web process."""
