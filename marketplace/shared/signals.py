"""Ports by which an app tells those above it that something happened."""

from django.dispatch import Signal

catalog_changed = Signal()
"""What routers know was changed. Sent last in its transaction, in which routing publishes it."""

benchmark_ran = Signal()
"""A benchmark has run to its end, whichever. Sent in its process, once that is kept."""
