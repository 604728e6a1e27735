"""What the catalog tells the apps above it, within the transaction of what happened."""

from django.dispatch import Signal

draining_changed = Signal()
"""Draining of a ``worker`` began or ended (``worker.draining``), for these ``models``.

``by`` is a user or None, ``why`` may be "".
"""
