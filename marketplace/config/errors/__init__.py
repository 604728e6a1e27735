"""Errors as clients get them: pages, and documents."""
