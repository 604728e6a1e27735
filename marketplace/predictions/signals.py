"""Signals to the apps above, sent in the transaction of the change."""

from django.dispatch import Signal

prediction_deleted = Signal()
"""A ``prediction`` was deleted because somebody wanted it to be gone, not because it was old."""
