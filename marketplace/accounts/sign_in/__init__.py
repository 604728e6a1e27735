"""Signing in and up, and what is refused to guessers."""
