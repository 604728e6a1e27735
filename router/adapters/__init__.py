"""The outside world behind :mod:`router.ports`: PostgreSQL, files, and memory for tests."""
