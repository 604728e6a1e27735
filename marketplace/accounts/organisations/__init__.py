"""Organisations on pages: the one that a person acts for, and its members."""
