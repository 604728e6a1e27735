"""Checks of an OpenAI-compatible server."""
