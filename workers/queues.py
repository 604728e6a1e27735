"""Celery's queues, each with workers of its own."""

JOBS = "celery"
"""Whatever is not sent elsewhere: Celery's own default."""

STEERING = "steering"
"""What ends a bad canary: it must not wait behind replays and reports."""
