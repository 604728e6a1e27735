"""Signals by which an app tells the apps above it that something changed."""

from django.dispatch import Signal

catalog_changed = Signal()
"""Data that routers use has changed. Sent last in the transaction, in which routing publishes."""

benchmark_ran = Signal()
"""A benchmark has run to its end, whichever. Sent in its process, once that is kept."""
