"""What accounts tell the apps above them, within the transaction of what happened."""

from django.dispatch import Signal

organisation_founded = Signal()
"""A person (``founder``) made an ``organisation``."""

leaving_asked = Signal()
"""A ``membership`` may end: each receiver answers, in words, what that breaks."""
