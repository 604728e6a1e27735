"""Signals to the apps above, sent in the transaction of the change."""

from django.dispatch import Signal

organisation_founded = Signal()
"""A person (``founder``) made an ``organisation``."""

leaving_asked = Signal()
"""A ``membership`` may end: each receiver returns sentences about what that breaks."""
