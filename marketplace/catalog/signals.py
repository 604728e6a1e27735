"""Signals to the apps above, sent in the transaction of the change."""

from django.dispatch import Signal

draining_changed = Signal()
"""Draining of a ``worker`` began or ended (``worker.draining``), for these ``models``.

``by`` is a user or None, ``why`` may be "".
"""
