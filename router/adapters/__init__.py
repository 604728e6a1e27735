"""Implementations of :mod:`router.ports`: PostgreSQL, files, and memory for tests."""
